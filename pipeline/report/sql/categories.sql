-- The largest routing categories: queries, accuracy, cost.
SELECT coalesce(nullif(r.category, ''), '(none)') AS category, count(*) AS queries,
       count(*) FILTER (WHERE d.gold IS NOT NULL AND r.answer IS NOT NULL) AS graded,
       count(*) FILTER (WHERE r.answer = d.gold) AS correct,
       sum(r.cost_usd)::DECIMAL(18, 9) AS cost_usd
FROM results r LEFT JOIN documents d ON d.job = r.job AND d.query_id = r.query_id
WHERE r.job = $job GROUP BY 1 ORDER BY queries DESC, category LIMIT $limit
