-- Per tier: queries that asked it, answers that stand on it, accuracy of those against gold, and what it cost.
WITH asked AS (
    SELECT unnest(tiers_asked) AS tier, count(*) AS asked FROM results WHERE job = $job GROUP BY 1
), answered AS (
    SELECT r.tier, count(*) AS answered,
           count(*) FILTER (WHERE d.gold IS NOT NULL) AS graded,
           count(*) FILTER (WHERE d.gold = r.answer) AS correct
    FROM results r LEFT JOIN documents d ON d.job = r.job AND d.query_id = r.query_id
    WHERE r.job = $job AND r.status = 'answered' GROUP BY r.tier
), paid AS (
    SELECT tier, count(*) AS calls, sum(cost_usd) AS cost_usd FROM calls WHERE job = $job GROUP BY tier
), ladder AS (
    SELECT tier, min(list_position(tiers_planned, tier)) AS rung FROM decisions WHERE job = $job GROUP BY tier
)
SELECT tier, coalesce(asked, 0) AS asked, coalesce(answered, 0) AS answered, graded, correct,
       coalesce(calls, 0) AS calls, coalesce(cost_usd, 0)::DECIMAL(18, 9) AS cost_usd
FROM asked FULL JOIN answered USING (tier) FULL JOIN paid USING (tier) LEFT JOIN ladder USING (tier)
ORDER BY rung NULLS LAST, tier
