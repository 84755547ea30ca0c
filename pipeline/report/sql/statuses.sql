-- How many queries ended how.
SELECT status, count(*) AS queries FROM results WHERE job = $job GROUP BY status ORDER BY queries DESC
