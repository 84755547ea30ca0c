-- The final row of one query, with its document.
SELECT r.*, d.text, d.gold, d.fields
FROM results r LEFT JOIN documents d ON d.job = r.job AND d.query_id = r.query_id
WHERE r.job = $job AND r.query_id = $query_id
