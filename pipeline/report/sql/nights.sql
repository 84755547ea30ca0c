-- The jobs, the latest first: what each cost, how many of its queries were answered, and how many of those rightly.
SELECT j.job, j.name, j.closed_at, j.queries, j.answered, j.spent_usd, j.cap_usd,
       (j.spent_usd / j.queries)::DECIMAL(18, 9) AS usd_per_query, g.accuracy
FROM jobs j
LEFT JOIN (
    SELECT r.job, avg((r.answer = d.gold)::INT) AS accuracy
    FROM results r JOIN documents d ON d.job = r.job AND d.query_id = r.query_id
    WHERE r.status = 'answered' AND d.gold IS NOT NULL GROUP BY r.job
) g ON g.job = j.job
ORDER BY j.closed_at DESC, j.job LIMIT $limit
