-- The queries without an accepted answer, by status and reason (numbers taken out), with the ids of some.
SELECT status, left(regexp_replace(reason, '([\s$(]|^)([0-9][0-9,.]*|''[^'']*'')', '\1…', 'g'), 300) AS reason, count(*) AS queries,
       min(query_id, 3) AS examples
FROM results WHERE job = $job AND status <> 'answered'
GROUP BY ALL ORDER BY queries DESC, status, reason LIMIT $limit
