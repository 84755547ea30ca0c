-- Recall per class, the worst first.
SELECT d.gold, count(*) AS queries, count(*) FILTER (WHERE r.answer = d.gold) AS correct
FROM results r JOIN documents d ON d.job = r.job AND d.query_id = r.query_id
WHERE r.job = $job AND d.gold IS NOT NULL AND r.answer IS NOT NULL
GROUP BY d.gold ORDER BY correct / queries, d.gold LIMIT $limit
