-- What stands of a job before its labels are drawn. `results`, `decisions`, `calls` and `call_items` hold the parts of
-- the generation that ends, `earlier` the results published before it, `drawn` pilot and audit.

-- name: stands
-- The answer of each query as it will be published.
CREATE TEMP TABLE stands AS
SELECT query_id, status, answer FROM results
UNION ALL SELECT query_id, status, answer FROM earlier ANTI JOIN results USING (query_id);

-- name: open
-- Queries that a resume would ask again.
SELECT count(*) FROM stands WHERE status IN ('deferred', 'cancelled');

-- name: known_of_tier
-- What a reference tier is known to answer, null where it has no valid answer. Drawn rows are known whatever became of
-- them: plans were chosen on them.
CREATE TEMP TABLE known AS
SELECT query_id, any_value(answer) AS answer FROM (
    SELECT query_id, answer FROM decisions WHERE tier = $reference AND call_id IS NOT NULL
    UNION ALL
    SELECT query_id, i.answer FROM calls c JOIN call_items i USING (call_id, query_id)
    WHERE c.purpose = 'audit' AND c.sample = 0 AND c.tier = $reference
    UNION ALL SELECT query_id, NULL FROM drawn
) GROUP BY query_id;

-- name: known_of_gold
CREATE TEMP TABLE known AS
SELECT query_id, gold AS answer FROM documents WHERE gold IS NOT NULL
UNION ALL SELECT query_id, NULL FROM drawn ANTI JOIN (FROM documents WHERE gold IS NOT NULL) USING (query_id);

-- name: answered
SELECT s.query_id, s.answer, k.query_id IS NOT NULL AS known, k.answer AS reference
FROM stands s LEFT JOIN known k USING (query_id) WHERE s.status = 'answered' AND s.answer IS NOT NULL;

-- name: documents
SELECT query_id, text, fields, gold, rejected FROM documents WHERE query_id IN (SELECT query_id FROM chosen)
ORDER BY query_id;
