-- What was decided at each tier asked for one query.
SELECT asked_in, position, tier, answer, confidence, accepted, reason, category, category_source, category_score,
       tiers_planned, tiers_replanned
FROM decisions WHERE job = $job AND query_id = $query_id ORDER BY asked_in, step, position
