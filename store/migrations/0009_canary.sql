-- Agents of ours that misbehaved so that the chain could be watched at work, as
-- triage answered them: they are nobody's, and are counted nowhere.
CREATE VIEW IF NOT EXISTS canaries AS SELECT DISTINCT agent FROM actions WHERE kind = 'canary';

CREATE OR REPLACE VIEW coverage AS
SELECT toDate(f.time) AS day, count() AS findings, countIf(d.finding != '') AS disposed, disposed / findings AS share
FROM (SELECT id, time FROM findings FINAL WHERE agent NOT IN (SELECT agent FROM canaries)) AS f
LEFT JOIN (SELECT DISTINCT finding FROM dispositions) AS d ON d.finding = f.id
GROUP BY day ORDER BY day DESC;
