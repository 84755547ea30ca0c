-- The statements that every call passes through, run for a whole group at once.
-- {rows}: as many parameter rows as the group has. {lock}, {bytes}: what only PostgreSQL needs.

-- name: calls_to_settle
-- The calls that a group of settlements is about, locked in one order.
SELECT call_id, job, account, state, amount, cost, outcome, body IS NOT NULL
FROM calls WHERE call_id IN ({rows}) ORDER BY call_id {lock};

-- name: balances
-- The accounts of all chains of a group, locked in one order, so that no two groups deadlock.
SELECT account, cap, spent, held, presumed
FROM accounts WHERE account IN ({rows}) ORDER BY account {lock};

-- name: gates
-- The state of each job and the fence of each batch that asks for money.
WITH asked (job, generation, batch) AS (VALUES {rows})
SELECT b.job, b.generation, b.batch, j.generation, j.state, j.stop, b.fence
FROM asked
CROSS JOIN batches b CROSS JOIN jobs j
WHERE b.job = asked.job AND b.generation = asked.generation AND b.batch = asked.batch AND j.job = asked.job;

-- name: former_calls
-- What was asked before with the same request, in any generation of the job.
WITH asked (job, request_hash, sample) AS (VALUES {rows})
SELECT c.job, c.request_hash, c.sample, c.call_id, c.state, c.attempt, c.outcome, c.query_id, c.step, c.purpose,
       c.cost, c.latency_ms, c.settled_at, c.input, c.cached_input, c.cache_write, c.output, c.reasoning, c.body
FROM asked
CROSS JOIN calls c
WHERE c.job = asked.job AND c.request_hash = asked.request_hash AND c.sample = asked.sample;

-- name: insert_holds
-- The new holds. A taken intent key inserts nothing, and the count then tells.
INSERT INTO calls (call_id, job, generation, batch, fence, account, query_id, step, purpose, tier, model, lane,
                   sample, attempt, request_hash, amount, held_at, state)
VALUES {rows}
ON CONFLICT DO NOTHING;

-- name: journal
-- Replies and true costs of a group of calls.
WITH told (call_id, state, cost, outcome, finish_reason, input, cached_input, cache_write, output, reasoning,
           latency_ms, sent_at, error, settled_at, body) AS (VALUES {rows})
UPDATE calls SET state = told.state, cost = told.cost, outcome = told.outcome, finish_reason = told.finish_reason,
       input = told.input, cached_input = told.cached_input, cache_write = told.cache_write,
       output = told.output, reasoning = told.reasoning, latency_ms = told.latency_ms, sent_at = told.sent_at,
       error = told.error, settled_at = told.settled_at,
       body = COALESCE(told.body{bytes}, calls.body)
FROM told WHERE calls.call_id = told.call_id;

-- name: move_balances
-- What a group moved, one row per account.
UPDATE accounts SET spent = spent + ?, held = held + ?, presumed = presumed + ? WHERE account = ?;
