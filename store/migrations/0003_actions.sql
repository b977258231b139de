-- How far each action has come. The version orders by status first, so that a
-- late "commanded" never hides a "verified", and by time among equals.
CREATE TABLE IF NOT EXISTS actions (
    id                  String,
    incident            String,
    kind                LowCardinality(String),
    mode                LowCardinality(String),
    step                UInt16,
    agent               String,
    session             String,
    user                String,
    credential          String,
    issuer              LowCardinality(String),
    subject             String,
    policy              LowCardinality(String),
    reason              String,
    findings            Array(String),
    occurred            Nullable(DateTime64(9, 'UTC')),
    decided             Nullable(DateTime64(9, 'UTC')),
    expires             Nullable(DateTime64(9, 'UTC')),
    status              LowCardinality(String),
    detail              String,
    executor            String,
    time                DateTime64(9, 'UTC'),
    ingested            DateTime64(3, 'UTC'),
    version             UInt64,
    raw                 String COMMENT 'the outcome as it was published, JSON' CODEC(ZSTD(3))
)
ENGINE = ReplacingMergeTree(version)
ORDER BY id;

-- Every step of every action, for the time from anomaly to containment.
CREATE TABLE IF NOT EXISTS action_history (
    id                  String,
    agent               String,
    kind                LowCardinality(String),
    mode                LowCardinality(String),
    status              LowCardinality(String),
    detail              String,
    executor            String,
    occurred            Nullable(DateTime64(9, 'UTC')),
    time                DateTime64(9, 'UTC'),
    ingested            DateTime64(3, 'UTC')
)
ENGINE = ReplacingMergeTree
ORDER BY (id, time, status);

CREATE VIEW IF NOT EXISTS actions_latest AS SELECT * FROM actions FINAL;
