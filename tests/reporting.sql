-- A closed job of any length: `asked` has its queries, `said` what each tier would say of each, `paid` its calls.

-- name: chance
-- 0..999, the same for the same arguments.
CREATE MACRO chance(i, salt) AS (hash(i * 1009 + salt) % 1000)::INT;

-- name: asked
-- How each query ended and how many tiers it was asked of.
CREATE TABLE asked AS
SELECT i, 'q' || i AS query_id, ['billing', 'outage', 'refund', $hostile][1 + (hash(i * 31) % 4)::INT] AS gold,
       ['money/invoice', 'technical', 'access', 'other'][1 + (hash(i * 17 + $seed) % 4)::INT] AS category,
       CASE WHEN i % 53 = 7 THEN 'deferred' WHEN i % 97 = 3 THEN 'review' WHEN i % 401 = 11 THEN 'rejected'
            WHEN i % 389 = 5 THEN 'failed' ELSE 'answered' END AS status,
       CASE WHEN i % 401 = 11 THEN 0 WHEN chance(i, $seed) < $easy THEN 1 WHEN chance(i, $seed) < 900 THEN 2 ELSE 3 END AS tiers
FROM range($rows) AS numbers(i);

-- name: said
-- Every tier on every query.
CREATE TABLE said AS
SELECT a.*, t AS position, ['small', 'middle', 'large'][t] AS tier, 'q' || i || '-' || t AS call_id,
       least(.999, .5 + .12 * t + chance(i, 7 * t) / 4000) AS confidence,
       CASE WHEN chance(i, 100 + t) < [860, 930, 985][t] THEN gold ELSE 'outage' END AS answer
FROM asked a, range(1, 4) AS ladder(t);

-- name: paid
-- The first queries are audited: asked of every tier. The others go up as far as they go, over two hours.
CREATE TABLE paid AS
WITH made AS (FROM said SELECT *, i < $audited AS drawn WHERE position <= tiers OR i < $audited)
SELECT call_id, query_id, tier, tier || '-1' AS model, CASE WHEN drawn THEN 'audit' ELSE 'answer' END AS purpose,
       0 AS attempt, 0 AS sample, 'ok' AS outcome,
       [0.0001, 0.0009, 0.005][position]::DECIMAL(18, 9) + (i % 7) * 0.000001::DECIMAL(18, 9) AS cost_usd,
       120 AS input_tokens, 0 AS cached_input_tokens, 0 AS cache_write_tokens, 8 AS output_tokens, 0 AS reasoning_tokens,
       40 * position + chance(i, position) AS latency_ms, false AS presumed, '' AS error,
       make_timestamp_ms($start + CASE WHEN drawn THEN i ELSE 9000 + i * 7200000 // $rows + position * 900 END) AS sent_at
FROM made;

-- name: documents
SELECT query_id, 'a document that nobody reads ' || i AS text, gold, '{}' AS fields FROM asked;

-- name: results
SELECT a.query_id, a.status, s.answer, s.confidence, s.tier, ['small', 'middle', 'large'][:a.tiers] AS tiers_asked, a.category,
       CASE WHEN a.i % 3 = 0 THEN 'rule' ELSE 'learned' END AS route, coalesce(p.cost_usd, 0) AS cost_usd, p.latency_ms,
       CASE a.status WHEN 'deferred' THEN 'exhausted: $' || (a.i % 9) || '.5 left'
            WHEN 'review' THEN 'confidence 0.55 below the label''s 0.90' WHEN 'rejected' THEN 'the document is empty'
            WHEN 'failed' THEN 'no tier gave a valid answer' ELSE 'confidence is enough' END AS reason
FROM asked a LEFT JOIN said s ON s.i = a.i AND s.position = a.tiers
LEFT JOIN (
    SELECT query_id, sum(cost_usd) AS cost_usd, sum(latency_ms) AS latency_ms FROM paid GROUP BY query_id
) p ON p.query_id = a.query_id;

-- name: decisions
SELECT query_id, position - 1 AS position, tier, call_id, answer, confidence,
       position = tiers AND status = 'answered' AS accepted,
       CASE WHEN position = tiers AND status = 'answered' THEN 'confidence is enough'
            ELSE 'confidence 0.61 below 0.80' END AS reason, ['small', 'middle', 'large'] AS tiers_planned
FROM said WHERE position <= tiers;

-- name: votes
SELECT query_id, position - 1 AS position, tier, call_id, judge, 1 AS version, confidence AS score, '' AS reason
FROM said, (VALUES ('valid'), ('confidence')) AS judges(judge) WHERE position <= tiers;

-- name: calls
FROM paid;

-- name: call_items
SELECT p.call_id, p.query_id, s.answer, p.cost_usd FROM paid p JOIN said s USING (call_id);
