-- How true the judges of one closed job are, by the answers whose right answer is known.

-- name: family
-- The kin of a model by its name: what one maker trained.
CREATE TEMP MACRO family(model) AS (
    SELECT CASE
        WHEN regexp_matches(name, '^o[0-9]') THEN 'gpt'
        WHEN name ~ '.*(mistral|mixtral|ministral|magistral).*' THEN 'mistral'
        ELSE coalesce(
            nullif(regexp_extract(name, 'claude|gpt|gemini|gemma|llama|qwen|deepseek|nova|command|phi|grok|granite'), ''),
            nullif(regexp_extract(name, '^[a-z]+'), ''), name)
    END
    FROM (SELECT regexp_replace(lower(model), '^.*/', '') AS name)
);

-- name: labels
-- The best label of each query: gold, then people's, then what the audit's reference said. Reviews are of the least sure
-- answers: they would make every judge look worse than it is, unless the audit drew the query.
CREATE TEMP TABLE labels AS
WITH given AS (
    FROM feedback WHERE job = $job
    QUALIFY row_number() OVER (PARTITION BY query_id, label_source ORDER BY given_at DESC, label NULLS LAST) = 1
)
SELECT query_id, label FROM (
    SELECT query_id, gold AS label, 1 AS rank, NULL::TIMESTAMP AS given_at FROM documents
    WHERE job = $job AND gold IS NOT NULL
    UNION ALL
    SELECT query_id, label, CASE label_source WHEN 'gold' THEN 1 ELSE 2 END, given_at FROM given
    WHERE label IS NOT NULL AND (
        selected_by IS NULL OR selected_by = 'audit'
        OR EXISTS (FROM calls a WHERE a.job = $job AND a.query_id = given.query_id AND a.purpose = 'audit')
    )
    UNION ALL
    SELECT c.query_id, i.answer, 3, c.sent_at FROM calls c JOIN call_items i USING (job, call_id, query_id)
    WHERE job = $job AND c.purpose = 'audit' AND c.tier = $reference AND i.answer IS NOT NULL
) QUALIFY row_number() OVER (PARTITION BY query_id ORDER BY rank, given_at DESC NULLS LAST, label) = 1;

-- name: judged
-- One row a vote, and one a combined P(correct). `right` is null where nobody knows. Answers used again are left out.
CREATE TEMP TABLE judged AS
WITH scored AS (
    SELECT call_id, query_id, judge, version, score, reason, coalesce(form, '') AS form FROM votes
    WHERE job = $job AND call_id IS NOT NULL
    UNION ALL BY NAME
    SELECT call_id, query_id, 'P(correct)' AS judge, confidence AS score, '' AS form FROM decisions
    WHERE job = $job AND call_id IS NOT NULL AND answer IS NOT NULL
), asked AS (
    SELECT unnest($judges) AS judge, unnest($models) AS model
)
SELECT s.*, CASE WHEN l.label IS NOT NULL THEN coalesce(d.answer = l.label, false)::INT::DOUBLE END AS "right",
       d.position + 1 AS step, coalesce(length(d.answer), 0) AS answer_length, length(t.text) AS document_length,
       family(c.model) = family(a.model) AS kin
FROM scored s
JOIN decisions d ON d.job = $job AND d.call_id = s.call_id AND d.query_id = s.query_id
JOIN calls c ON c.job = $job AND c.call_id = s.call_id AND c.query_id = s.query_id AND c.outcome <> 'reused'
JOIN documents t ON t.job = $job AND t.query_id = s.query_id
LEFT JOIN labels l ON l.query_id = s.query_id
LEFT JOIN asked a ON a.judge = s.judge;

-- name: judges
-- Each judge: how often it spoke and failed; said against right; the mean squared error, beside that of who always
-- says the share that is right; and the mean distance of said and right by tenths.
WITH tenths AS (
    SELECT judge, version, count(*) AS n, avg(score) AS said, avg("right") AS was FROM judged
    WHERE score IS NOT NULL AND "right" IS NOT NULL GROUP BY judge, version, least(floor(score * 10), 9)
), errors AS (
    SELECT judge, version, sum(n * abs(said - was)) / sum(n) AS calibration_error FROM tenths GROUP BY ALL
)
SELECT j.judge, j.version, count(score) AS votes, count(*) FILTER (score IS NULL) AS failed,
       count(*) FILTER (score IS NOT NULL AND "right" IS NOT NULL) AS labelled,
       avg(score) FILTER ("right" IS NOT NULL) AS said, avg("right") FILTER (score IS NOT NULL) AS was_right,
       avg((score - "right") ** 2) AS brier,
       var_pop("right") FILTER (score IS NOT NULL) AS brier_base_rate, any_value(e.calibration_error) AS calibration_error
FROM judged j LEFT JOIN errors e ON e.judge = j.judge AND e.version IS NOT DISTINCT FROM j.version
GROUP BY j.judge, j.version ORDER BY j.judge, j.version;

-- name: calibration
-- Scores by tenths of 0..1: their mean, and the share that was right.
SELECT judge, version, least(floor(score * 10), 9)::INT AS tenth, count(*) AS answers, avg(score) AS said,
       avg("right") AS was_right
FROM judged WHERE score IS NOT NULL AND "right" IS NOT NULL GROUP BY ALL
ORDER BY judge, version, tenth;

-- name: bias
-- What a judge says over what is right, by what should not matter to it: how it was asked, which tier of the plan it
-- judges, the lengths of answer and document (thirds), its own model's kin. `margin`: half a 95 % interval.
WITH known AS (
    SELECT *, score - "right" AS excess FROM judged WHERE score IS NOT NULL AND "right" IS NOT NULL
), thirds AS (
    SELECT judge, version, quantile_disc(answer_length, [0.3333, 0.6667]) AS answer,
           quantile_disc(document_length, [0.3333, 0.6667]) AS document
    FROM known GROUP BY judge, version
), grouped AS (
    SELECT judge, version, excess, score, "right", 'position' AS bias, form AS "group" FROM known WHERE form <> ''
    UNION ALL
    SELECT judge, version, excess, score, "right", 'tier', 'tier ' || step FROM known
    UNION ALL
    SELECT k.judge, k.version, excess, score, "right", 'answer length', third(answer_length, t.answer)
    FROM known k JOIN thirds t ON t.judge = k.judge AND t.version IS NOT DISTINCT FROM k.version
    UNION ALL
    SELECT k.judge, k.version, excess, score, "right", 'document length', third(document_length, t.document)
    FROM known k JOIN thirds t ON t.judge = k.judge AND t.version IS NOT DISTINCT FROM k.version
    UNION ALL
    SELECT judge, version, excess, score, "right", 'family', CASE WHEN kin THEN 'its own' ELSE 'another' END
    FROM known WHERE kin IS NOT NULL
)
SELECT judge, version, bias, "group", count(*) AS answers, avg(score) AS said, avg("right") AS was_right,
       avg(excess) AS excess, 1.96 * stddev_samp(excess) / sqrt(count(*)) AS margin
FROM grouped WHERE judge <> 'valid' GROUP BY ALL
ORDER BY judge, version, bias, "group";

-- name: third
-- Which third a length falls into, with its limits.
CREATE TEMP MACRO third(size, limits) AS CASE
    WHEN size <= limits[1] THEN '1: to ' || limits[1]
    WHEN size <= limits[2] THEN '2: to ' || limits[2]
    ELSE '3: over ' || limits[2]
END;
