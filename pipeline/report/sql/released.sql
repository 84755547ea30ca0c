-- What presumed calls came to once the provider's invoice was known: calls, what they were charged, what was billed.
SELECT count(*) AS calls, sum(charged_usd)::DECIMAL(18, 9) AS charged_usd, sum(cost_usd)::DECIMAL(18, 9) AS cost_usd
FROM releases WHERE job = $job HAVING count(*) > 0
