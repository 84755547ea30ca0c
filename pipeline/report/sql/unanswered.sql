-- The queries without an accepted answer, and why.
SELECT query_id, status, answer, tier, reason FROM results
WHERE job = $job AND status <> 'answered' ORDER BY status, query_id LIMIT $limit
