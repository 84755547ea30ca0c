-- The answers that closed jobs of a task accepted, the latest first, each text once, with the right answer where it is
-- known, and whether no student, tier or judge, chose who answers it. Left out are audited queries and those drawn for
-- people to label (an audit certifies, it never teaches), and copies of another query's answer.
SELECT r.job, r.query_id, d.text, r.answer, coalesce(f.label, d.gold) AS label, r.confidence, r.tier,
       coalesce(c.model, '') AS model, x.call_id,
       r.cost_usd, s.query_id IS NULL AS fair
FROM jobs j
JOIN results r ON r.job = j.job
JOIN documents d ON d.job = r.job AND d.query_id = r.query_id
JOIN decisions x ON x.job = r.job AND x.query_id = r.query_id AND x.tier = r.tier AND x.call_id IS NOT NULL
LEFT JOIN calls c ON c.job = x.job AND c.call_id = x.call_id
LEFT JOIN (
    SELECT job, query_id, arg_max_null(label, given_at) AS label FROM feedback GROUP BY ALL
) f ON f.job = r.job AND f.query_id = r.query_id
LEFT JOIN (
    SELECT DISTINCT e.job, e.query_id FROM decisions e JOIN calls k ON k.job = e.job AND k.call_id = e.call_id
    WHERE k.model LIKE 'student-%' AND e.answer IS NOT NULL
    UNION SELECT job, query_id FROM votes WHERE judge = 'student' AND score IS NOT NULL
) s ON s.job = r.job AND s.query_id = r.query_id
WHERE j.prompt_hash = $prompt_hash AND r.status = 'answered' AND r.reason NOT LIKE 'near-duplicate of %'
  AND NOT EXISTS (FROM calls a WHERE a.job = r.job AND a.query_id = r.query_id AND a.purpose = 'audit')
  AND NOT EXISTS (FROM drawn w WHERE w.job = r.job AND w.query_id = r.query_id)
QUALIFY row_number() OVER (PARTITION BY d.text ORDER BY j.closed_at DESC, r.job, r.query_id, x.asked_in DESC) = 1
ORDER BY j.closed_at DESC, r.job, r.query_id
LIMIT $most
