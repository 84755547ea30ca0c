-- What people said of one query after the fact, the latest last: it stands.
SELECT DISTINCT given_at, reviewer, label_source, label, selected_by, score, reason
FROM feedback WHERE job = $job AND query_id = $query_id ORDER BY given_at, label DESC NULLS FIRST
