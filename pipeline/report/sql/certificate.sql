-- What was promised of a job's answers, and whether it is certified.
SELECT * EXCLUDE (drawn, alike),
       CASE WHEN certified THEN 'certified' WHEN pending THEN 'pending' WHEN target IS NULL THEN 'measured'
            ELSE 'withheld' END AS state
FROM certificates WHERE job = $job
