-- The statements that every call passes through, run for a whole group at once. {rows}: its parameter rows.
-- OR FAIL: a statement of many rows that may have to undo itself first copies every page it touches, which
-- doubles its cost; here nothing is undone, since a failure rolls the whole group back.

-- name: calls_to_settle
SELECT call_id, job, account, state, amount, cost, outcome, body IS NOT NULL FROM calls WHERE call_id IN ({rows});

-- name: parent
SELECT parent FROM accounts WHERE account = ?;

-- name: balances
SELECT account, cap, spent, held, presumed FROM accounts WHERE account IN ({rows});

-- name: gates
-- The state of each job and the fence of each batch that asks for money.
WITH asked (job, generation, batch) AS (VALUES {rows})
SELECT b.job, b.generation, b.batch, j.generation, j.state, j.stop, b.fence
FROM asked
CROSS JOIN batches b CROSS JOIN jobs j
WHERE b.job = asked.job AND b.generation = asked.generation AND b.batch = asked.batch AND j.job = asked.job;

-- name: former_calls
-- What was asked before with the same request, in any generation of the job (and by other jobs).
SELECT job, request_hash, sample, call_id, state, attempt, outcome, query_id, step, purpose,
       cost, latency_ms, settled_at, input, cached_input, cache_write, output, reasoning, body
FROM calls WHERE request_key IN ({rows});

-- name: insert_holds
INSERT OR FAIL INTO calls (call_id, job, generation, batch, fence, account, query_id, step, purpose, tier, model,
                           lane, sample, attempt, request_hash, request_key, amount, held_at, state)
VALUES {rows};

-- name: exists
SELECT 1 FROM calls WHERE call_id = ?;

-- name: last_attempt
SELECT MAX(attempt) FROM calls
WHERE job = ? AND generation = ? AND query_id = ? AND step = ? AND purpose = ? AND tier = ? AND sample = ?;

-- name: journal
-- Replies and true costs of a group of calls.
WITH told (call_id, state, cost, outcome, finish_reason, input, cached_input, cache_write, output, reasoning,
           latency_ms, sent_at, error, settled_at, body) AS (VALUES {rows})
UPDATE OR FAIL calls SET
       state = told.state, cost = told.cost, outcome = told.outcome, finish_reason = told.finish_reason,
       input = told.input, cached_input = told.cached_input, cache_write = told.cache_write,
       output = told.output, reasoning = told.reasoning, latency_ms = told.latency_ms, sent_at = told.sent_at,
       error = told.error, settled_at = told.settled_at, body = COALESCE(told.body, calls.body)
FROM told WHERE calls.call_id = told.call_id;

-- name: move_balance
UPDATE accounts SET spent = spent + ?, held = held + ?, presumed = presumed + ? WHERE account = ?;

-- name: halt
UPDATE jobs SET stop = 'over_hold' WHERE job = ?;
