-- The way of the queries up the ladder: at each tier those asked, of them first here, accepted, sent on to another tier,
-- and ended here without an accepted answer.
WITH asked AS (
    SELECT unnest(tiers_asked) AS tier, generate_subscripts(tiers_asked, 1) AS place, len(tiers_asked) AS tiers, status
    FROM results WHERE job = $job
), ladder AS (
    SELECT tier, min(list_position(tiers_planned, tier)) AS rung FROM decisions WHERE job = $job GROUP BY tier
)
SELECT tier, count(*) AS asked, count(*) FILTER (place = 1) AS entered,
       count(*) FILTER (place = tiers AND status = 'answered') AS accepted,
       count(*) FILTER (place < tiers) AS escalated,
       count(*) FILTER (place = tiers AND status <> 'answered') AS ended
FROM asked LEFT JOIN ladder USING (tier) GROUP BY tier, rung ORDER BY rung NULLS LAST, tier
