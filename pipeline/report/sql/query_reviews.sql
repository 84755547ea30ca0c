-- What people said of these queries after the fact, the latest last: it stands.
SELECT DISTINCT query_id, given_at, reviewer, label_source, label, selected_by, score, reason
FROM feedback WHERE job = $job AND query_id IN (SELECT unnest($query_ids)) ORDER BY given_at, label DESC NULLS FIRST
