-- Dollars spent up to each of so many moments from the first call to the last, by tier.
WITH span AS (
    SELECT min(sent_at) AS began, greatest(max(epoch_ms(sent_at)) - min(epoch_ms(sent_at)), 1) AS ms FROM calls WHERE job = $job
), spent AS (
    SELECT tier, least((epoch_ms(sent_at) - epoch_ms(began)) * $limit // ms, $limit - 1) AS part, sum(cost_usd) AS usd
    FROM calls, span WHERE job = $job GROUP BY ALL
), paid AS (
    SELECT tier FROM spent GROUP BY tier HAVING sum(usd) > 0
)
SELECT began + to_milliseconds((ms * (part + 1) / $limit)::BIGINT) AS until, tier,
       sum(coalesce(usd, 0)) OVER (PARTITION BY tier ORDER BY part)::DECIMAL(18, 9) AS usd
FROM span, range($limit) AS parts(part) CROSS JOIN paid LEFT JOIN spent USING (tier, part) ORDER BY part, tier
