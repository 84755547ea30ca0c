-- The job's own row.
SELECT * FROM jobs WHERE job = $job
