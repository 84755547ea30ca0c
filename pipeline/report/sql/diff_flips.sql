-- Which labels became which, the most frequent first.
SELECT r.answer AS before, s.answer AS after, count(*) AS queries
FROM results r
JOIN documents d ON d.job = r.job AND d.query_id = r.query_id
JOIN documents e ON e.job = $after AND e.query_id = r.query_id AND e.text = d.text
JOIN results s ON s.job = $after AND s.query_id = r.query_id
WHERE r.job = $before AND r.answer IS DISTINCT FROM s.answer
GROUP BY ALL ORDER BY queries DESC, before, after LIMIT $limit
