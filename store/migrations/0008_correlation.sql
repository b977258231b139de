-- Incidents over several agents, what became of those that were merged, and when
-- a person first acted on one.
ALTER TABLE incidents ADD COLUMN IF NOT EXISTS agents Array(String) AFTER agent;

ALTER TABLE incidents ADD COLUMN IF NOT EXISTS into String COMMENT 'the incident it became part of' AFTER open;

ALTER TABLE incidents ADD COLUMN IF NOT EXISTS acknowledged Nullable(DateTime64(9, 'UTC')) COMMENT 'when a person first decided on it' AFTER last;

CREATE OR REPLACE VIEW incidents_latest AS SELECT * FROM incidents FINAL;

-- Findings that were looked at but not acted on, because a person had said why not.
ALTER TABLE dispositions ADD COLUMN IF NOT EXISTS suppression String AFTER confidence;

CREATE TABLE IF NOT EXISTS suppressions (
    id                  String,
    incident            String,
    agent               String,
    detector            LowCardinality(String),
    owner               String COMMENT 'public key of the operator who gave the verdict',
    why                 String,
    since               DateTime64(9, 'UTC'),
    until               DateTime64(9, 'UTC'),
    removed             UInt8,
    removed_by          String,
    version             UInt64 COMMENT 'sequence in the stream that told of it',
    raw                 String COMMENT 'the suppression as it was told, JSON' CODEC(ZSTD(3))
)
ENGINE = ReplacingMergeTree(version)
ORDER BY id;
