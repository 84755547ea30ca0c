-- What a tier cost where it was asked, apart for rows drawn by chance; and the tokens of an answer, whoever was asked.
SELECT count(DISTINCT query_id) FILTER (purpose IN ('answer', 'audit')) AS queries,
       count(DISTINCT query_id) FILTER (tier = $tier AND purpose = 'audit') AS audited,
       coalesce(sum(cost_usd) FILTER (tier = $tier AND purpose = 'audit'), 0)::DECIMAL(18, 9) AS audited_usd,
       count(DISTINCT query_id) FILTER (tier = $tier AND purpose = 'answer') AS asked,
       coalesce(sum(cost_usd) FILTER (tier = $tier AND purpose = 'answer'), 0)::DECIMAL(18, 9) AS asked_usd,
       avg(input_tokens + cached_input_tokens + cache_write_tokens) FILTER (purpose = 'answer' AND output_tokens > 0) AS input_tokens,
       avg(output_tokens) FILTER (purpose = 'answer' AND output_tokens > 0) AS output_tokens
FROM calls WHERE job = $job AND outcome <> 'reused' AND sample = 0
