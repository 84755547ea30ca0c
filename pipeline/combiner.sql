-- Votes on answers whose worth is known, for the weights of judges.

-- name: jobs
-- Closed jobs of the task, the latest first.
SELECT job, spec FROM jobs WHERE prompt_hash = $prompt_hash ORDER BY closed_at DESC, job LIMIT $most;

-- name: labelled
-- One row a vote on a valid answer of these jobs, with the best label of its query: gold, then people's. Left out are
-- audited queries and those drawn for people to label (an audit certifies, it never teaches), answers used again and labels that were withdrawn. `fair`:
-- nobody chose which queries of the job were labelled, nor did their scores, as in a review.
WITH given AS (
    FROM feedback WHERE job IN (SELECT unnest($jobs))
    QUALIFY row_number() OVER (PARTITION BY job, query_id, label_source ORDER BY given_at DESC, label NULLS LAST) = 1
), every AS (
    SELECT job, query_id, gold AS label, 2 AS rank, now()::TIMESTAMP AS given_at, false AS given, false AS chosen
    FROM documents WHERE gold IS NOT NULL AND job IN (SELECT unnest($jobs))
    UNION ALL
    SELECT job, query_id, label, CASE label_source WHEN 'gold' THEN 1 ELSE 3 END, given_at, true, selected_by IS NOT NULL
    FROM given WHERE label IS NOT NULL
), shares AS (
    SELECT e.job, e.rank, count(DISTINCT e.query_id) / any_value(j.queries) AS share
    FROM every e JOIN jobs j USING (job) GROUP BY e.job, e.rank
), labels AS (
    SELECT job, query_id, label, NOT given OR (share = 1 AND NOT chosen) AS fair FROM every JOIN shares USING (job, rank)
    QUALIFY row_number() OVER (PARTITION BY job, query_id ORDER BY rank, given_at DESC, label) = 1
)
SELECT d.job, d.query_id, d.call_id, d.tier, d.answer = l.label AS "right", l.fair, v.judge, v.score
FROM decisions d
JOIN labels l USING (job, query_id)
JOIN calls c ON c.job = d.job AND c.call_id = d.call_id
JOIN votes v ON v.job = d.job AND v.query_id = d.query_id AND v.call_id = d.call_id
WHERE d.answer IS NOT NULL AND v.score IS NOT NULL AND c.outcome IN ('ok', 'truncated', 'malformed', 'refused')
  AND NOT EXISTS (FROM calls a WHERE a.job = d.job AND a.query_id = d.query_id AND a.purpose = 'audit')
  AND NOT EXISTS (FROM drawn w WHERE w.job = d.job AND w.query_id = d.query_id)
ORDER BY d.job, d.query_id, d.call_id, v.judge;
