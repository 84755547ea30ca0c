-- Answers against gold, where the input has it.
SELECT count(*) AS graded, count(*) FILTER (WHERE r.answer = d.gold) AS correct
FROM results r JOIN documents d ON d.job = r.job AND d.query_id = r.query_id
WHERE r.job = $job AND d.gold IS NOT NULL AND r.answer IS NOT NULL
