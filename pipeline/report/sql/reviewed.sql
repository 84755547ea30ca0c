-- Queries that ended for review, and what people have said of them since: chosen rows, so no accuracy.
SELECT CASE WHEN v.query_id IS NULL THEN '(nobody yet)' ELSE coalesce(v.reviewer, '(no name)') END AS reviewer, count(*) AS queries,
       count(*) FILTER (v.agrees) AS agree, max(v.given_at) AS latest
FROM results r LEFT JOIN reviewed v ON v.job = r.job AND v.query_id = r.query_id
WHERE r.job = $job AND r.status = 'review' GROUP BY 1, v.query_id IS NULL ORDER BY v.query_id IS NULL, queries DESC, 1
