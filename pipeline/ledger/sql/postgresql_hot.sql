-- The statements that every call passes through, run for a whole group at once: its rows are one JSON array, so
-- that the text never changes and is prepared once, and one parameter is all the driver has to convert.

-- name: lock_jobs
-- One transaction at a time holds or presumes money of a job.
SELECT pg_advisory_xact_lock(%s);

-- name: accounts_of
SELECT c.call_id, c.account FROM json_array_elements_text(%s::json) AS asked (call_id) JOIN calls c USING (call_id);

-- name: calls_to_settle
-- Locked in one order.
SELECT c.call_id, c.job, c.account, c.state, c.amount, c.cost, c.outcome, c.body IS NOT NULL
FROM json_array_elements_text(%s::json) AS asked (call_id) JOIN calls c USING (call_id)
ORDER BY c.call_id FOR UPDATE OF c;

-- name: parent
SELECT parent FROM accounts WHERE account = %s;

-- name: balances
-- The accounts of all chains of a group, locked in one order, so that no two groups deadlock.
SELECT a.account, a.cap, a.spent, a.held, a.presumed
FROM json_array_elements_text(%s::json) AS asked (account) JOIN accounts a USING (account)
ORDER BY a.account FOR UPDATE OF a;

-- name: gates
-- The state of each job and the fence of each batch that asks for money.
SELECT b.job, b.generation, b.batch, j.generation, j.state, j.stop, b.fence
FROM json_to_recordset(%s::json) AS asked (job text, generation int8, batch int8)
JOIN batches b USING (job, generation, batch) JOIN jobs j ON j.job = asked.job;

-- name: former_calls
-- What was asked before with the same request, in any generation of the job (and by other jobs). By the key alone: given the job
-- too, a planner without statistics takes an index that leads to every call of the job.
SELECT c.job, c.request_hash, c.sample, c.call_id, c.state, c.attempt, c.outcome, c.query_id, c.step, c.purpose,
       c.cost, c.latency_ms, c.settled_at, c.input, c.cached_input, c.cache_write, c.output, c.reasoning, c.body
FROM json_array_elements_text(%s::json) AS asked (request_key) JOIN calls c ON c.request_key = asked.request_key::int8;

-- name: insert_holds
INSERT INTO calls (call_id, job, generation, batch, fence, account, query_id, step, purpose, tier, model, lane,
                   sample, attempt, request_hash, request_key, amount, held_at, state)
SELECT call_id, job, generation, batch, fence, account, query_id, step, purpose, tier, model, lane,
       sample, attempt, decode(request_hash, 'base64'), request_key, amount, held_at, 'held'
FROM json_to_recordset(%s::json) AS granted (
       call_id text, job text, generation int8, batch int8, fence int8, account text, query_id text, step int8,
       purpose text, tier text, model text, lane text, sample int8, attempt int8, request_hash text,
       request_key int8, amount int8, held_at int8);

-- name: exists
SELECT 1 FROM calls WHERE call_id = %s;

-- name: last_attempt
SELECT MAX(attempt) FROM calls
WHERE job = %s AND generation = %s AND query_id = %s AND step = %s AND purpose = %s AND tier = %s AND sample = %s;

-- name: journal
-- Replies and true costs of a group of calls.
UPDATE calls SET
       state = told.state, cost = told.cost, outcome = told.outcome, finish_reason = told.finish_reason,
       input = told.input, cached_input = told.cached_input, cache_write = told.cache_write,
       output = told.output, reasoning = told.reasoning, latency_ms = told.latency_ms, sent_at = told.sent_at,
       error = told.error, settled_at = told.settled_at,
       body = COALESCE(decode(told.body, 'base64'), calls.body)
FROM json_to_recordset(%s::json) AS told (
       call_id text, state text, cost int8, outcome text, finish_reason text, input int8, cached_input int8,
       cache_write int8, output int8, reasoning int8, latency_ms int8, sent_at int8, error text,
       settled_at int8, body text)
WHERE calls.call_id = told.call_id;

-- name: move_balance
UPDATE accounts SET spent = spent + %s, held = held + %s, presumed = presumed + %s WHERE account = %s;

-- name: halt
UPDATE jobs SET stop = 'over_hold' WHERE job = %s;
