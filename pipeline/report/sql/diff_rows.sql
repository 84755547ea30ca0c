-- The queries of two jobs by what became of them; a document counts as the same when its id and its text are.
WITH one AS (FROM results r JOIN documents d USING (job, query_id) SELECT r.*, d.text, d.gold WHERE job = $before),
     two AS (FROM results r JOIN documents d USING (job, query_id) SELECT r.*, d.text, d.gold WHERE job = $after)
SELECT count(*) FILTER (WHERE one.query_id IS NOT NULL AND two.query_id IS NOT NULL) AS both,
       count(*) FILTER (WHERE two.query_id IS NULL) AS only_before,
       count(*) FILTER (WHERE one.query_id IS NULL) AS only_after,
       count(*) FILTER (WHERE one.query_id IS NOT NULL AND two.query_id IS NOT NULL AND one.answer IS DISTINCT FROM two.answer) AS changed,
       count(*) FILTER (WHERE one.answer = one.gold AND two.answer IS DISTINCT FROM two.gold AND two.query_id IS NOT NULL) AS now_wrong,
       count(*) FILTER (WHERE two.answer = two.gold AND one.answer IS DISTINCT FROM one.gold AND one.query_id IS NOT NULL) AS now_right
FROM one FULL JOIN two ON one.query_id = two.query_id AND one.text = two.text
