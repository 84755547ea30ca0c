-- Our side of a comparison with a provider's usage export: what closed jobs asked, by model and UTC day.
-- {early}, {late}: minutes after and before midnight within which the provider may book a call on the other day.

-- name: settled
-- Calls whose outcome is known, by tier and by the day they were sent. `doubtful`: sent and not charged, or answered without stating
-- usage and charged in full.
SELECT
    job, tier, model, sent_at::DATE AS day,
    sum(input_tokens)::HUGEINT AS input, sum(cached_input_tokens)::HUGEINT AS cached_input,
    sum(cache_write_tokens)::HUGEINT AS cache_write, sum(output_tokens)::HUGEINT AS output,
    sum(reasoning_tokens)::HUGEINT AS reasoning,
    count(*) FILTER (outcome IN ('ok', 'truncated', 'malformed', 'refused', 'lost')) AS requests,
    sum(cost_usd) AS cost_usd,
    count(*) FILTER (failed OR unstated) AS doubtful,
    coalesce(sum(held_usd) FILTER (failed), 0) + coalesce(sum(cost_usd) FILTER (unstated), 0) AS doubtful_usd,
    bool_or(sent_at < sent_at::DATE + INTERVAL {early} MINUTE) AS early,
    bool_or(sent_at >= sent_at::DATE + INTERVAL 1 DAY - INTERVAL {late} MINUTE) AS late
FROM (
    SELECT *, outcome IN ('rate_limited', 'rejected', 'unreachable') AS failed,
        cost_usd > 0 AND input_tokens + cached_input_tokens + cache_write_tokens + output_tokens + reasoning_tokens = 0
            AS unstated
    FROM calls
)
WHERE list_contains($jobs, job) AND NOT presumed AND lane <> 'local' AND outcome <> 'reused'
    AND sent_at > TIMESTAMP '1970-01-02'
GROUP BY ALL
ORDER BY ALL;

-- name: presumed
-- Calls that were presumed when their job closed; what became of them since stands in the ledger.
SELECT call_id, job, asked_in, batch, cost_usd FROM calls WHERE list_contains($jobs, job) AND presumed ORDER BY ALL;

-- name: jobs
-- Closed jobs.
SELECT job FROM jobs ORDER BY closed_at, job;

-- name: recorded
-- Calls whose true cost is on record already.
SELECT DISTINCT call_id FROM releases WHERE list_contains($jobs, job);
