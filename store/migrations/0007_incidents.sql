-- How incidents stand, as triage last told of them.
CREATE TABLE IF NOT EXISTS incidents (
    id                  String,
    agent               String,
    session             String,
    open                UInt8,
    severity            UInt8,
    first               DateTime64(9, 'UTC'),
    last                DateTime64(9, 'UTC'),
    findings            UInt64,
    threats             Array(LowCardinality(String)),
    detectors           Array(LowCardinality(String)),
    verdict             LowCardinality(String),
    decided_by          String,
    why                 String,
    changed             DateTime64(9, 'UTC'),
    version             UInt64 COMMENT 'sequence in the stream that told of it',
    raw                 String COMMENT 'the incident as it was told, JSON' CODEC(ZSTD(3))
)
ENGINE = ReplacingMergeTree(version)
ORDER BY id;

CREATE VIEW IF NOT EXISTS incidents_latest AS SELECT * FROM incidents FINAL;

-- The first look at every finding, written before a person sees it.
CREATE TABLE IF NOT EXISTS dispositions (
    finding             String,
    incident            String,
    agent               String,
    detector            LowCardinality(String),
    verdict             LowCardinality(String),
    confidence          LowCardinality(String),
    time                DateTime64(9, 'UTC'),
    version             UInt64,
    raw                 String COMMENT 'the disposition as it was told, JSON' CODEC(ZSTD(3))
)
ENGINE = ReplacingMergeTree
ORDER BY finding;

-- How much of what was found was looked at, by day of the event: it must read 1.
CREATE VIEW IF NOT EXISTS coverage AS
SELECT toDate(f.time) AS day, count() AS findings, countIf(d.finding != '') AS disposed, disposed / findings AS share
FROM (SELECT id, time FROM findings FINAL) AS f
LEFT JOIN (SELECT DISTINCT finding FROM dispositions) AS d ON d.finding = f.id
GROUP BY day ORDER BY day DESC;

-- Everything that was commanded, decided and answered, in the order of its
-- stream. Each row's hash covers the row and the hash of the one before it, so a
-- row that is altered, removed or put elsewhere is named by `stakeout audit verify`.
CREATE TABLE IF NOT EXISTS audit (
    stream              LowCardinality(String),
    seq                 UInt64,
    time                DateTime64(9, 'UTC'),
    subject             String,
    signer              String COMMENT 'public key in the message',
    signature           String,
    payload             String CODEC(ZSTD(3)),
    prev                String COMMENT 'hash of the row before it',
    hash                String
)
ENGINE = ReplacingMergeTree
ORDER BY (stream, seq, hash);
