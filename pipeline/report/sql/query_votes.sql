-- The judges' words on these queries.
SELECT query_id, position, tier, judge, version, score, reason
FROM votes WHERE job = $job AND query_id IN (SELECT unnest($query_ids)) ORDER BY asked_in, position, judge
