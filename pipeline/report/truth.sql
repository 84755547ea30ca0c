-- How right a job was, by whatever is known to be right: gold, people's labels of drawn rows, or what the audit's
-- reference said.

-- name: truth
-- The right answer of each query that has one; `$reference` is gold, human or a tier.
CREATE OR REPLACE TEMP TABLE truth AS
SELECT query_id, gold AS label FROM documents WHERE $reference = 'gold' AND job = $job AND gold IS NOT NULL
UNION ALL
SELECT query_id, label FROM drawn WHERE $reference = 'human' AND job = $job AND label IS NOT NULL
UNION ALL
SELECT c.query_id, any_value(i.answer) FROM calls c JOIN call_items i USING (job, call_id, query_id)
WHERE job = $job AND c.purpose = 'audit' AND c.tier = $reference AND c.sample = 0 AND i.answer IS NOT NULL
GROUP BY c.query_id;

-- name: audited
-- Each tier on the drawn rows, which all tiers were asked: rows, right answers, cost of a thousand.
SELECT c.tier, count(DISTINCT c.query_id) AS queries, count(DISTINCT c.query_id) FILTER (i.answer = t.label) AS correct,
       (1000 * sum(c.cost_usd) / count(DISTINCT c.query_id))::DOUBLE AS usd_per_1000
FROM calls c JOIN truth t USING (query_id) LEFT JOIN call_items i USING (job, call_id, query_id)
WHERE job = $job AND c.purpose = 'audit' AND c.sample = 0 GROUP BY c.tier ORDER BY usd_per_1000, c.tier;

-- name: asked
-- Each tier on the rows that came to it: rows with a right answer, those it had right, cost of a thousand.
WITH said AS (
    SELECT tier, count(*) AS queries, count(*) FILTER (d.answer = t.label) AS correct
    FROM decisions d JOIN truth t USING (query_id) WHERE d.job = $job GROUP BY tier
), paid AS (
    SELECT tier, (1000 * sum(cost_usd) / count(DISTINCT query_id))::DOUBLE AS usd_per_1000
    FROM calls WHERE job = $job AND purpose = 'answer' AND outcome <> 'reused' GROUP BY tier
)
SELECT tier, queries, correct, usd_per_1000 FROM said JOIN paid USING (tier) ORDER BY usd_per_1000, tier;

-- name: calibration
-- P(correct) of the answers that stand, by tenths: what was said on average, and how many were right.
SELECT least(floor(r.confidence * 10), 9)::INT AS tenth, count(*) AS queries, avg(r.confidence) AS said,
       count(*) FILTER (r.answer = t.label) AS correct
FROM results r JOIN truth t USING (query_id)
WHERE r.job = $job AND r.confidence IS NOT NULL AND r.answer IS NOT NULL GROUP BY tenth ORDER BY tenth;
