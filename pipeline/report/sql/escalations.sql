-- Why tiers were not believed, with numbers taken out of the reasons.
SELECT tier, regexp_replace(reason, '[0-9]+\.[0-9]+|''[^'']*''', '…', 'g') AS reason, count(*) AS times
FROM decisions WHERE job = $job AND NOT accepted
GROUP BY ALL ORDER BY times DESC LIMIT $limit
