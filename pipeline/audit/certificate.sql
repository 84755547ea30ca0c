-- What a closing job's final tables say about its certificate. `results` and `calls` hold that job alone.

-- name: off_plan
-- Rows that did not end under the plan: not asked to its end, or given up with their batch. A row without a valid
-- answer did end under it, and disagrees in the audit too.
SELECT count(*) FROM results
WHERE status IN ('deferred', 'cancelled')
   OR (status = 'failed' AND NOT starts_with(reason, 'no valid answer') AND NOT starts_with(reason, 'no tier is allowed'))
   OR (status <> 'rejected' AND policy_version <> $version);

-- name: audit_usd
-- What the audit came to, its pilot, its labels, judges and categories included: all calls of the batches that held it.
SELECT coalesce(sum(cost_usd), 0)::DECIMAL(18, 9) FROM calls
WHERE (asked_in, batch) IN (SELECT asked_in, batch FROM calls WHERE purpose IN ('audit', 'stratum'));

-- name: categories
-- What was predicted of all rows of a category: their mean P(correct), 0 where no answer stands.
SELECT coalesce(category, '') AS category, count(*) AS population,
       avg(CASE WHEN status = 'answered' THEN coalesce(confidence, 0) ELSE 0 END) AS predicted
FROM results GROUP BY 1 ORDER BY 1;

-- name: audited
-- The answers to the audited rows beside what was predicted of them. `reference`: one row for each of them.
SELECT r.query_id, coalesce(r.category, '') AS category, CASE WHEN r.status = 'answered' THEN r.answer END AS answer,
       CASE WHEN r.status = 'answered' THEN coalesce(r.confidence, 0) ELSE 0 END::DOUBLE AS predicted, a.label,
       r.status = 'rejected' AS rejected
FROM results r JOIN reference a USING (query_id) ORDER BY r.query_id;

-- name: alike
-- Rows that were answered what says the same as the reference in other words. `alike`: such answers of the drawn rows.
SELECT DISTINCT query_id FROM results r JOIN alike a USING (query_id)
WHERE r.status = 'answered' AND r.answer = a.label ORDER BY query_id;

-- name: labels
-- What people said of the drawn rows: the label that stands, of how many people, and whether all say the same. Null
-- takes back what its reviewer said before.
WITH each AS (
    SELECT query_id, label, given_at FROM feedback WHERE selected_by = 'audit' AND label_source = 'human'
    QUALIFY row_number() OVER (PARTITION BY query_id, reviewer ORDER BY given_at DESC, label NULLS LAST) = 1
)
SELECT query_id, first(label ORDER BY given_at DESC, label NULLS LAST) AS label, count(label) AS people,
       count(DISTINCT label) <= 1 AS alike
FROM each GROUP BY query_id ORDER BY query_id;
