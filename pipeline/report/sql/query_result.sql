-- The final rows of these queries, with their documents.
SELECT r.*, d.text, d.gold, d.fields
FROM results r LEFT JOIN documents d ON d.job = r.job AND d.query_id = r.query_id
WHERE r.job = $job AND r.query_id IN (SELECT unnest($query_ids))
