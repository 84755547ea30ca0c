-- Two jobs side by side: queries, answers, right ones, dollars.
SELECT j.job, j.queries, j.answered, j.spent_usd, (j.spent_usd / j.queries)::DECIMAL(18, 9) AS usd_per_query, j.policy_version, j.prompt_hash,
       count(d.gold) AS graded, count(*) FILTER (WHERE r.answer = d.gold) AS correct
FROM jobs j
LEFT JOIN results r ON r.job = j.job AND r.status = 'answered'
LEFT JOIN documents d ON d.job = r.job AND d.query_id = r.query_id
WHERE j.job IN ($before, $after)
GROUP BY ALL ORDER BY max(j.job = $after)
