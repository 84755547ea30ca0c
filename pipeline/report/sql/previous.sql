-- The job of the same name, else of the same task, that closed last before this one.
SELECT j.job, j.closed_at FROM jobs j JOIN jobs t ON t.job = $job
WHERE j.job <> t.job AND j.closed_at <= t.closed_at AND j.answered > 0 AND (j.name = t.name OR j.prompt_hash = t.prompt_hash)
ORDER BY j.name = t.name DESC, j.closed_at DESC, j.job LIMIT 1
