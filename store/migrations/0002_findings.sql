-- Claims of the detectors. There are few, and the same one may come again on
-- another day after a crash, so they are not partitioned: a replay always replaces.
CREATE TABLE IF NOT EXISTS findings (
    id                  String,
    detector            LowCardinality(String),
    threat              LowCardinality(String),
    severity            UInt8,
    time                DateTime64(9, 'UTC'),
    agent               String,
    role                LowCardinality(String),
    tenant              LowCardinality(String),
    session             String,
    user                String,
    credential_id       String,
    credential_issuer   LowCardinality(String),
    credential_subject  String,
    reason              String,
    observed            String,
    baseline            String,
    p_value             Float64,
    level               Float64,
    event               String,
    evidence            Array(String),
    asi                 Array(LowCardinality(String)),
    atlas               Array(LowCardinality(String)),
    rules               LowCardinality(String),
    ingested            DateTime64(3, 'UTC'),
    raw                 String COMMENT 'the finding as it was published, JSON' CODEC(ZSTD(3))
)
ENGINE = ReplacingMergeTree
ORDER BY (agent, time, id);

CREATE VIEW IF NOT EXISTS findings_latest AS SELECT * FROM findings FINAL;
