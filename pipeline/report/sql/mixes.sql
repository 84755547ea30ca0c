-- Queries of two jobs by tier, routing category and label; of labels only where they are classes.
WITH ended AS (FROM results SELECT job, tier, category, answer WHERE job IN ($before, $after)),
named AS (
    SELECT 'tier' AS mix, coalesce(tier, '(none)') AS name, job, count(*) AS queries FROM ended GROUP BY ALL
    UNION ALL
    SELECT 'category', coalesce(nullif(category, ''), '(none)'), job, count(*) FROM ended GROUP BY ALL
    UNION ALL
    SELECT 'label', answer, job, count(*) FROM ended WHERE $classes AND answer IS NOT NULL GROUP BY ALL
)
SELECT mix, name, coalesce(sum(queries) FILTER (job = $before), 0)::BIGINT AS before,
       coalesce(sum(queries) FILTER (job = $after), 0)::BIGINT AS now
FROM named GROUP BY mix, name
QUALIFY row_number() OVER (PARTITION BY mix ORDER BY sum(queries) DESC, name) <= $limit ORDER BY mix, now DESC, name
