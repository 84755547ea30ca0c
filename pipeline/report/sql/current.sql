-- The latest row of each document over all jobs of a schedule (--schedule NAME): what its input is answered by now.
SELECT r.query_id, r.status, r.answer, r.confidence, r.tier, r.job, j.scheduled_at
FROM jobs j JOIN results r ON r.job = j.job
WHERE j.schedule = $schedule
QUALIFY row_number() OVER (PARTITION BY r.query_id ORDER BY j.scheduled_at DESC, j.closed_at DESC) = 1
ORDER BY r.query_id
