-- What each query of earlier jobs of a task came to at the prices given, in nano-dollars, and how long its document was.
-- Audited queries were asked of every tier, whatever their plan then made of them.
-- `paid`: the tiers' prices in nano-dollars a token; a tier that has none states its own cost, and so does a call whose
-- outcome is unknown. A copy of an equal query of the job is free again; a reply of another job was bought there.
WITH spent AS (
    SELECT c.job, c.query_id, sum(
        CASE WHEN c.outcome IN ('rate_limited', 'rejected', 'unreachable') THEN 0
             WHEN c.outcome = 'reused' AND o.job = c.job THEN 0
             WHEN c.presumed OR p.tier IS NULL THEN c.cost_usd::DOUBLE * 1e9
             ELSE c.input_tokens * p.input + c.cached_input_tokens * p.cached_input
                  + c.cache_write_tokens * p.cache_write + c.output_tokens * p.output
                  + c.reasoning_tokens * p.reasoning + p.request
        END) AS nano
    FROM calls c
    LEFT JOIN paid p ON p.tier = c.tier
    LEFT JOIN calls o ON o.call_id = c.reused_from AND o.job = c.job
    WHERE list_contains($jobs, c.job)
    GROUP BY ALL
), audited AS (
    SELECT DISTINCT job, query_id FROM calls WHERE purpose = 'audit' AND list_contains($jobs, job)
)
SELECT r.job, strlen(d.text) AS bytes, coalesce(s.nano, 0.0)::DOUBLE AS nano, a.query_id IS NOT NULL AS audited
FROM results r
JOIN documents d ON d.job = r.job AND d.query_id = r.query_id
LEFT JOIN spent s ON s.job = r.job AND s.query_id = r.query_id
LEFT JOIN audited a ON a.job = r.job AND a.query_id = r.query_id
WHERE list_contains($jobs, r.job) AND r.status IN ('answered', 'review', 'failed')
ORDER BY r.job, r.query_id
