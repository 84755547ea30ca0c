-- The queries that cost most.
SELECT query_id, cost_usd, tiers_asked, status, reason
FROM results WHERE job = $job ORDER BY cost_usd DESC, query_id LIMIT $limit
