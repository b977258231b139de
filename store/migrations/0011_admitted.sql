-- What an event is stored under must not depend on when it came: one that comes
-- twice would be two rows. So time, which is in the key, is what the event itself
-- says, however far ahead its clock was, and admitted is the time that all else goes by.
ALTER TABLE events ADD COLUMN IF NOT EXISTS admitted DateTime64(9, 'UTC') DEFAULT time COMMENT 'time, or that of the record where the clock was too far ahead of it' CODEC(Delta, ZSTD(1)) AFTER time;

ALTER TABLE events ADD INDEX IF NOT EXISTS by_admitted admitted TYPE minmax GRANULARITY 1;

ALTER TABLE events COMMENT COLUMN IF EXISTS time 'by the clock of the agent, which may be wrong; never before admitted';
