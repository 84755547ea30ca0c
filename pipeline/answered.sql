-- The documents that a schedule's closed jobs need not ask about again under one prompt, with the hash of the text they
-- had: those whose latest row is final. Deferred, cancelled and failed ones come again.
SELECT query_id, text_hash
FROM (
    SELECT r.query_id, r.status, sha256(d.text) AS text_hash
    FROM jobs j
    JOIN results r ON r.job = j.job
    JOIN documents d ON d.job = r.job AND d.query_id = r.query_id
    WHERE j.schedule = $schedule AND j.prompt_hash = $prompt_hash
    QUALIFY row_number() OVER (PARTITION BY r.query_id ORDER BY j.scheduled_at DESC, j.closed_at DESC) = 1
)
WHERE status IN ('answered', 'review', 'rejected')
