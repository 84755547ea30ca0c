-- What a closed job asked and what it was answered, for deciding it again.

-- name: queries
-- The queries in the order they ran in, as they ended, with what routing knew of them.
SELECT r.query_id, r.status, r.answer, r.tier, r.asked_in, r.batch, p.category, p.score, p.familiar, p.source
FROM results r
LEFT JOIN (
    SELECT query_id, any_value(category) AS category, any_value(category_score) AS score,
           any_value(familiar) AS familiar, any_value(category_source) AS source
    FROM decisions WHERE job = $job GROUP BY query_id
) p ON p.query_id = r.query_id
WHERE r.job = $job
ORDER BY r.asked_in, r.batch, r.finished_at, r.query_id;

-- name: documents
-- Their texts, and the vectors that routing was given.
SELECT d.query_id, d.text, d.gold, d.rejected, e.vector
FROM documents d
LEFT JOIN (SELECT query_id, any_value(vector) AS vector FROM embeddings WHERE job = $job GROUP BY query_id) e
    ON e.query_id = d.query_id
WHERE d.job = $job;

-- name: pins
-- What the first lease of each batch fixed.
SELECT asked_in, batch, any_value(policy_version) AS policy_version,
       any_value(price_of_money) AS price_of_money, any_value(seed) AS seed
FROM decisions WHERE job = $job GROUP BY ALL;

-- name: answers
-- What each tier said to each query, and why it said nothing.
SELECT query_id, tier, answer, reason, position FROM decisions WHERE job = $job ORDER BY query_id, position;

-- name: audited
-- What tiers said to the rows of an audit, where the query's own plan did not ask them.
SELECT c.query_id, c.tier, any_value(i.answer) AS answer, any_value(i.confidence) AS confidence
FROM calls c JOIN call_items i ON i.job = c.job AND i.call_id = c.call_id AND i.query_id = c.query_id
WHERE c.job = $job AND c.purpose = 'audit' AND c.sample = 0 AND c.outcome IN ('ok', 'reused')
GROUP BY ALL;

-- name: votes
-- What the judges said of each answer.
SELECT query_id, tier, judge, version, score, reason, form FROM votes WHERE job = $job;

-- name: costs
-- What each query paid each tier for its answer, attempts that failed included; under no tier, what routing it cost.
SELECT query_id, CASE WHEN purpose IN ('answer', 'audit') THEN tier END AS tier, purpose = 'judge' AS judging,
       (sum(cost_usd) * 1000000000)::BIGINT AS nano
FROM calls WHERE job = $job AND sample = 0 OR job = $job AND purpose = 'judge'
GROUP BY ALL;

-- name: models
-- The model behind each tier.
SELECT tier, any_value(model) AS model FROM calls WHERE job = $job GROUP BY tier;
