-- The classes that go wrong most, and what they are mistaken for.
SELECT d.gold, r.answer, count(*) AS queries
FROM results r JOIN documents d ON d.job = r.job AND d.query_id = r.query_id
WHERE r.job = $job AND d.gold IS NOT NULL AND r.answer IS NOT NULL AND r.answer <> d.gold
GROUP BY ALL ORDER BY queries DESC, d.gold, r.answer LIMIT $limit
