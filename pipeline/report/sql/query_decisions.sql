-- What was decided at each tier asked for these queries.
SELECT query_id, asked_in, position, tier, answer, confidence, accepted, reason, category, category_source, category_score,
       tiers_planned, tiers_replanned
FROM decisions WHERE job = $job AND query_id IN (SELECT unnest($query_ids)) ORDER BY asked_in, step, position
