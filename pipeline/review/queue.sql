-- The queries of a closed job that wait for a person, and what the page shows of them. What was rejected has no
-- document to label.

-- name: jobs
-- Per job that sent queries to review: how many were reviewed since, how many wait. And of those drawn for its
-- certificate, how many are labelled.
SELECT r.job, count(*) FILTER (r.status = 'review') AS review,
       count(v.query_id) FILTER (r.status = 'review') AS reviewed, review - reviewed AS waiting,
       count(d.query_id) AS drawn, count(d.label) AS labelled
FROM results r
LEFT JOIN reviewed v ON v.job = r.job AND v.query_id = r.query_id
LEFT JOIN drawn d ON d.job = r.job AND d.query_id = r.query_id AND r.status <> 'rejected'
WHERE (r.status = 'review' OR d.query_id IS NOT NULL) AND coalesce(r.job = $job, true)
GROUP BY r.job ORDER BY r.job;

-- name: reasons
-- Why they were sent there, with numbers taken out of the reasons.
SELECT regexp_replace(r.reason, '[0-9]+\.[0-9]+', '…', 'g') AS reason, count(*) AS review,
       count(*) - count(v.query_id) AS waiting
FROM results r LEFT JOIN reviewed v ON v.job = r.job AND v.query_id = r.query_id
WHERE r.job = $job AND r.status = 'review'
GROUP BY ALL ORDER BY review DESC, reason;

-- name: reviewers
-- Who gave the labels that stand, and how often they are the answer the job had.
SELECT v.reviewer, count(*) AS reviewed, count(*) FILTER (v.agrees) AS agreed
FROM reviewed v WHERE v.job = $job AND v.status = 'review'
GROUP BY ALL ORDER BY reviewed DESC, v.reviewer;

-- name: selected
-- All that people are asked about: those drawn for a certificate, of which nothing is said, then those sent to review,
-- the least sure first.
SELECT * REPLACE (
    CASE WHEN NOT drawn THEN answer END AS answer, CASE WHEN NOT drawn THEN tier END AS tier,
    CASE WHEN NOT drawn THEN confidence END AS confidence, CASE WHEN NOT drawn THEN cost_usd END AS cost_usd,
    CASE WHEN drawn THEN 'drawn for the certificate: what the tiers said is not shown' ELSE reason END AS reason
)
FROM (
    SELECT r.query_id, r.answer, r.tier, r.confidence, r.reason, r.category, r.cost_usd, d.query_id IS NOT NULL AS drawn
    FROM results r LEFT JOIN drawn d ON d.job = r.job AND d.query_id = r.query_id
    WHERE r.job = $job AND r.status <> 'rejected' AND (r.status = 'review' OR d.query_id IS NOT NULL)
)
ORDER BY drawn DESC, CASE WHEN NOT drawn THEN confidence END NULLS FIRST, query_id;

-- name: documents
-- Their texts.
SELECT query_id, text, fields FROM documents WHERE job = $job AND query_id IN (SELECT unnest($ids));

-- name: decisions
-- What each tier said of them, in the order they were asked.
SELECT query_id, asked_in, position, tier, answer, confidence, reason
FROM decisions WHERE job = $job AND query_id IN (SELECT unnest($ids))
ORDER BY query_id, asked_in, step, position;

-- name: votes
-- What the judges said of each answer.
SELECT query_id, asked_in, position, judge, score, reason
FROM votes WHERE job = $job AND query_id IN (SELECT unnest($ids)) ORDER BY ALL;
