-- The judges' words on one query.
SELECT position, tier, judge, version, score, reason
FROM votes WHERE job = $job AND query_id = $query_id ORDER BY asked_in, position, judge
