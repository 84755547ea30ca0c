-- Drawn rows on which the job's answer is not the reference's: both, the tier that answered, and gold where it is known.
WITH audited AS (
    SELECT query_id FROM calls WHERE job = $job AND purpose = 'audit'
    UNION SELECT query_id FROM drawn WHERE job = $job AND label IS NOT NULL
), said AS (
    SELECT a.query_id, any_value(i.answer) AS answer
    FROM calls a
    JOIN certificates c ON c.job = a.job AND c.reference = a.tier
    JOIN call_items i ON i.call_id = a.call_id AND i.query_id = a.query_id
    WHERE a.job = $job AND a.purpose = 'audit' AND a.sample = 0 AND i.answer IS NOT NULL GROUP BY a.query_id
    UNION ALL SELECT query_id, label FROM drawn WHERE job = $job AND label IS NOT NULL
)
SELECT r.query_id, r.status, r.tier, r.confidence, r.answer,
       CASE WHEN c.reference = 'gold' THEN d.gold ELSE s.answer END AS reference, d.gold, d.text
FROM audited
JOIN results r ON r.job = $job AND r.query_id = audited.query_id
JOIN documents d ON d.job = r.job AND d.query_id = r.query_id
JOIN certificates c ON c.job = r.job
LEFT JOIN said s ON s.query_id = r.query_id
WHERE r.answer IS DISTINCT FROM CASE WHEN c.reference = 'gold' THEN d.gold ELSE s.answer END
  AND NOT list_contains(coalesce(c.alike, []), r.query_id)
ORDER BY r.confidence DESC NULLS LAST, r.query_id LIMIT $limit
