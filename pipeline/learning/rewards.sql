-- What the answers of one job were worth. The job's tables are views of the same names; `feedback` holds the labels
-- given for it, `known` its rewards so far, `certificates` names the queries drawn for people to label.

-- name: labels
-- The best label of each query: gold, then people's, then the audit's reference, then what was believed; among equals
-- the latest. Labels that were given for some queries only were chosen by someone, nobody knows how; those of a review
-- by the score that selected them. A withdrawn label is null, and counts only where it has graded answers already.
CREATE TEMP TABLE labels AS
WITH given AS (
    SELECT query_id, label, label_source, given_at AS labelled_at, selected_by, score AS selected_score FROM feedback
    QUALIFY row_number() OVER (PARTITION BY query_id, label_source ORDER BY given_at DESC, label NULLS LAST) = 1
), every AS (
    SELECT *, true AS given FROM given WHERE label IS NOT NULL OR EXISTS (
        FROM known k
        WHERE k.query_id = given.query_id AND k.label_source = given.label_source AND k.weight > 0
    )
    UNION ALL BY NAME
    SELECT query_id, d.gold AS label, 'gold' AS label_source, r.finished_at AS labelled_at, false AS given
    FROM results r JOIN documents d USING (query_id) WHERE d.gold IS NOT NULL
    UNION ALL BY NAME
    SELECT c.query_id, i.answer AS label, 'audit' AS label_source, c.sent_at AS labelled_at, false AS given
    FROM calls c JOIN call_items i USING (call_id, query_id)
    WHERE c.purpose = 'audit' AND c.sample = 0 AND c.tier = $reference AND i.answer IS NOT NULL
      AND NOT EXISTS (FROM certificates WHERE judge IS NOT NULL)  -- where other words may agree, equality grades nothing
    UNION ALL BY NAME
    SELECT query_id, answer AS label, 'judges' AS label_source, finished_at AS labelled_at, false AS given
    FROM results WHERE status = 'answered' AND answer IS NOT NULL AND confidence IS NOT NULL
), shares AS (
    SELECT label_source, count(DISTINCT query_id) FILTER (label IS NOT NULL) / (SELECT count(*) FROM results) AS share
    FROM every GROUP BY label_source
)
SELECT query_id, label, label_source, labelled_at, selected_by, selected_score,
       CASE WHEN NOT given OR (share = 1 AND selected_by IS NULL) THEN share END AS p_labelled
FROM every JOIN shares USING (label_source)
QUALIFY row_number() OVER (
    PARTITION BY query_id
    ORDER BY list_position(['gold', 'human', 'audit', 'judges'], label_source), labelled_at DESC, label
) = 1;

-- name: answers
-- What each tier asked for a query said, once: a decision, or a call of the audit. A reply that is no answer counts; a
-- call that brought none back says nothing of the tier, a query kept from a student nothing of the student, and an
-- answer used again nothing that is new. Queries drawn for people to label certify, they never teach.
CREATE TEMP TABLE answers AS
WITH paid AS (
    SELECT query_id, tier, bool_or(purpose = 'audit') AS audit, sum(cost_usd)::DECIMAL(18, 9) AS cost_usd,
           sum(input_tokens)::BIGINT AS input_tokens, sum(cached_input_tokens)::BIGINT AS cached_input_tokens,
           sum(cache_write_tokens)::BIGINT AS cache_write_tokens, sum(output_tokens)::BIGINT AS output_tokens,
           sum(reasoning_tokens)::BIGINT AS reasoning_tokens
    FROM calls WHERE purpose IN ('answer', 'audit') AND sample = 0 GROUP BY query_id, tier
), said AS (
    SELECT call_id, query_id, tier, answer, confidence, position, tiers_planned, accept_planned, replans, route,
           category_score, familiar, policy_version, propensity
    FROM decisions WHERE call_id IS NOT NULL
    UNION ALL BY NAME
    SELECT i.call_id, i.query_id, c.tier, i.answer
    FROM call_items i JOIN calls c USING (call_id, query_id) WHERE c.purpose = 'audit' AND c.sample = 0
), scores AS (
    SELECT call_id, any_value(score) AS score FROM votes WHERE judge = 'confidence' GROUP BY call_id
), once AS (
    SELECT s.*, CASE WHEN c.model LIKE 'student-%' THEN 'student' ELSE c.model END AS model, c.latency_ms,
           p.* EXCLUDE (query_id, tier), scores.score
    FROM said s JOIN calls c USING (call_id, query_id)
    JOIN paid p ON p.query_id = s.query_id AND p.tier = s.tier LEFT JOIN scores USING (call_id)
    WHERE c.outcome IN ('ok', 'truncated', 'malformed', 'refused')
      AND NOT (c.model LIKE 'student-%' AND s.answer IS NULL)
      AND s.query_id NOT IN (SELECT unnest(drawn) FROM certificates WHERE drawn IS NOT NULL)
    QUALIFY row_number() OVER (PARTITION BY s.query_id, s.tier ORDER BY s.position NULLS LAST, s.call_id) = 1
)
SELECT * REPLACE (
           max(category_score) OVER (PARTITION BY query_id) AS category_score,
           bool_or(familiar) OVER (PARTITION BY query_id) AS familiar
       ),
       bool_or(audit) OVER (PARTITION BY query_id) AS audited,
       CASE WHEN position > 0 THEN list(concat_ws(' ', tier, model)) OVER (
           PARTITION BY query_id ORDER BY position NULLS LAST ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
       ) ELSE [] END AS tiers_left
FROM once;

-- name: vectors
-- What an endpoint made of each query's text; null for an encoder that works in this process.
CREATE TEMP TABLE vectors AS
SELECT query_id, arg_max(vector, generation) AS vector FROM embeddings
WHERE encoder = $encoder AND vector IS NOT NULL GROUP BY query_id;

-- name: rewards
-- One label grades every answer of its query; judges' words count little, and as much as they were sure. Rows that
-- are known already with this very label are left out. What a withdrawn label has graded weighs nothing from now on.
SELECT a.call_id, a.query_id, a.tier, a.model, r.category, coalesce(a.category_score, 0) AS category_score,
       coalesce(a.familiar, false) AS familiar, a.answer,
       CASE WHEN l.label IS NULL THEN 0
            WHEN l.label_source <> 'judges' THEN (a.answer IS NOT DISTINCT FROM l.label)::INT::DOUBLE
            WHEN a.answer IS NULL THEN 0 WHEN a.answer = l.label THEN r.confidence ELSE 1 - r.confidence
       END AS reward,
       l.label_source,
       CASE WHEN l.label IS NULL THEN 0.0 WHEN l.label_source = 'judges' THEN $judges_weight ELSE 1.0 END AS weight,
       l.p_labelled, l.labelled_at, r.finished_at, a.cost_usd, a.input_tokens, a.cached_input_tokens,
       a.cache_write_tokens, a.output_tokens, a.reasoning_tokens, a.latency_ms, a.score, a.confidence,
       r.status = 'answered' AND a.tier = r.tier AS stands, a.position, coalesce(a.tiers_left, []) AS tiers_left,
       a.tiers_planned, a.accept_planned, coalesce(a.replans, false) AS replans, a.route, a.policy_version, a.propensity,
       a.audited, d.text, v.vector,
       l.selected_by, l.selected_score
FROM answers a JOIN labels l USING (query_id) JOIN results r USING (query_id) JOIN documents d USING (query_id)
LEFT JOIN vectors v USING (query_id)
ANTI JOIN known k ON k.call_id = a.call_id AND k.label_source = l.label_source AND k.labelled_at = l.labelled_at
ORDER BY a.query_id, a.position NULLS LAST, a.call_id;
