-- What a tier cost where it was asked, apart for rows drawn by chance; and the tokens of an answer, whoever was asked.
WITH asked AS (
    SELECT sum(cost_usd) FILTER (tier = $tier AND purpose = 'audit') AS audited_usd,
           sum(cost_usd) FILTER (tier = $tier AND purpose = 'answer') AS asked_usd,
           count(*) FILTER (purpose = 'answer' AND output_tokens > 0) AS answers,
           sum(input_tokens + cached_input_tokens + cache_write_tokens) FILTER (purpose = 'answer' AND output_tokens > 0) AS input_tokens,
           sum(output_tokens) FILTER (purpose = 'answer' AND output_tokens > 0) AS output_tokens
    FROM calls WHERE job = $job AND purpose IN ('answer', 'audit') AND outcome <> 'reused' AND sample = 0 GROUP BY query_id
)
SELECT count(*) AS queries, count(audited_usd) AS audited, coalesce(sum(audited_usd), 0)::DECIMAL(18, 9) AS audited_usd,
       count(asked_usd) AS asked, coalesce(sum(asked_usd), 0)::DECIMAL(18, 9) AS asked_usd,
       sum(input_tokens) / sum(answers) AS input_tokens, sum(output_tokens) / sum(answers) AS output_tokens
FROM asked
