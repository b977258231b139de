-- When the first event of an action's incident was taken in, and when it was
-- judged: with occurred, and the times of the action's own steps, that is the
-- whole way from an anomaly to its end.
ALTER TABLE actions ADD COLUMN IF NOT EXISTS event_ingested Nullable(DateTime64(9, 'UTC')) AFTER occurred;

ALTER TABLE actions ADD COLUMN IF NOT EXISTS found Nullable(DateTime64(9, 'UTC')) AFTER event_ingested;

-- A view keeps the columns that its table had when it was made.
CREATE OR REPLACE VIEW actions_latest AS SELECT * FROM actions FINAL;
