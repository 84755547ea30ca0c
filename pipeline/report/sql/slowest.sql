-- The queries that took longest, over all the calls made for them.
SELECT query_id, latency_ms, tiers_asked, status, reason FROM results
WHERE job = $job ORDER BY latency_ms DESC NULLS LAST, query_id LIMIT $limit
