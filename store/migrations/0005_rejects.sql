-- Lines that are no events, and why.
CREATE TABLE IF NOT EXISTS rejects (
    topic               LowCardinality(String),
    partition           UInt32,
    offset              Int64 COMMENT '-1 where it is not known any more',
    unplaced            UInt64 COMMENT 'offset of the reject itself, to tell those apart',
    line                UInt32,
    time                DateTime64(9, 'UTC'),
    field               LowCardinality(String),
    position            Int64,
    reason              String,
    size                UInt64,
    sha256              String,
    lines               UInt32,
    stack               String CODEC(ZSTD(3)),
    ingested            DateTime64(3, 'UTC')
)
ENGINE = ReplacingMergeTree
PARTITION BY toDate(ingested)
ORDER BY (topic, partition, offset, line, unplaced)
SETTINGS ttl_only_drop_parts = 1;
