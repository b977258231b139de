-- What a model wrote about a finding, where one is configured. Nobody has verified
-- it and nothing is counted or decided by it.
CREATE TABLE IF NOT EXISTS drafts (
    finding             String,
    incident            String,
    model               LowCardinality(String),
    text                String CODEC(ZSTD(3)),
    time                DateTime64(9, 'UTC'),
    version             UInt64 COMMENT 'sequence in the stream that told of it',
    raw                 String COMMENT 'the draft as it was told, JSON' CODEC(ZSTD(3))
)
ENGINE = ReplacingMergeTree(version)
ORDER BY finding;
