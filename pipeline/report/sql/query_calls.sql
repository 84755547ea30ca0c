-- Every call made for these queries, with its cost.
SELECT query_id, asked_in, purpose, tier, model, attempt, outcome, cost_usd, presumed, latency_ms, call_id, reused_from, error
FROM calls WHERE job = $job AND query_id IN (SELECT unnest($query_ids)) ORDER BY sent_at, attempt
