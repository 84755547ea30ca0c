-- The queries whose answer changed from one job to the other, those with gold first.
SELECT r.query_id, r.answer AS before, s.answer AS after, d.gold, r.tier AS tier_before, s.tier AS tier_after
FROM results r
JOIN documents d ON d.job = r.job AND d.query_id = r.query_id
JOIN documents e ON e.job = $after AND e.query_id = r.query_id AND e.text = d.text
JOIN results s ON s.job = $after AND s.query_id = r.query_id
WHERE r.job = $before AND r.answer IS DISTINCT FROM s.answer
ORDER BY d.gold IS NULL, r.query_id LIMIT $limit
