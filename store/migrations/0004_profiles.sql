-- The latest summary of each agent's profile. A tombstone of the changelog marks it deleted.
CREATE TABLE IF NOT EXISTS profiles (
    agent               String,
    role                LowCardinality(String),
    tenant              LowCardinality(String),
    state               LowCardinality(String),
    events              UInt64,
    first               Nullable(DateTime64(9, 'UTC')),
    last                Nullable(DateTime64(9, 'UTC')),
    privileges          UInt32,
    ingested            DateTime64(3, 'UTC'),
    version             UInt64,
    deleted             UInt8,
    raw                 String COMMENT 'the summary, JSON' CODEC(ZSTD(3))
)
ENGINE = ReplacingMergeTree(version, deleted)
ORDER BY agent;

CREATE VIEW IF NOT EXISTS agents_latest AS
SELECT p.agent AS agent, p.role AS role, p.tenant AS tenant, p.state AS state, p.events AS events,
       p.first AS first, p.last AS last, p.privileges AS privileges, p.raw AS raw,
       f.findings AS findings, f.worst AS worst, f.latest AS latest_finding
FROM (SELECT * FROM profiles FINAL) AS p
LEFT JOIN (SELECT agent, count() AS findings, max(severity) AS worst, max(time) AS latest FROM findings FINAL GROUP BY agent) AS f ON f.agent = p.agent;
