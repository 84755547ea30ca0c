-- Whose answers stand in each of two jobs.
SELECT coalesce(tier, '(none)') AS tier, count(*) FILTER (WHERE job = $before) AS before, count(*) FILTER (WHERE job = $after) AS after
FROM results WHERE job IN ($before, $after) GROUP BY 1 ORDER BY before DESC, tier
