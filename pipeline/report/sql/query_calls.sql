-- Every call made for one query, with its cost.
SELECT asked_in, purpose, tier, model, attempt, outcome, cost_usd, presumed, latency_ms, call_id, reused_from, error
FROM calls WHERE job = $job AND query_id = $query_id ORDER BY sent_at, attempt
