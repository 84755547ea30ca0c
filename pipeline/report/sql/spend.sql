-- What each tier was paid for, and how it ended: calls, tokens, dollars.
SELECT tier, model, purpose, outcome, count(*) AS calls, sum(input_tokens + cached_input_tokens + cache_write_tokens) AS tokens_in,
       sum(output_tokens + reasoning_tokens) AS tokens_out, sum(cost_usd)::DECIMAL(18, 9) AS cost_usd
FROM calls WHERE job = $job GROUP BY ALL ORDER BY cost_usd DESC, tier, outcome
