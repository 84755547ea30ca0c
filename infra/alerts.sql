-- What to alert on, as questions to the ledger: a row is an alarm. They run on PostgreSQL and on SQLite; :now is
-- Unix time in milliseconds (PostgreSQL: extract(epoch from now()) * 1000). Money is in nano-dollars.

-- name: over_cap
-- Page. Must never happen: more is spent and held than an account may, without a halted job that explains it.
SELECT accounts.account, accounts.spent, accounts.held, accounts.cap FROM accounts
WHERE spent + held > cap
  AND NOT EXISTS (SELECT 1 FROM jobs WHERE jobs.account = accounts.account AND jobs.stop = 'over_hold');

-- name: halted
-- Page. A provider billed over a proven bound: its tier's price or limits in the spec are wrong.
SELECT job, account, generation FROM jobs WHERE stop = 'over_hold' AND state <> 'closed';

-- name: presumed
-- Ticket. Over 2 % of a cap stands for calls whose outcome nobody knows: time-outs, cuts or kills. Compare with the
-- provider's bill.
SELECT account, presumed, cap FROM accounts WHERE presumed * 50 > cap AND cap > 0;

-- name: stuck
-- Page. A batch that nobody holds and nobody has taken up for fifteen minutes: no worker, or no broker.
SELECT batches.job, batches.generation, batches.batch FROM batches JOIN jobs ON jobs.job = batches.job
WHERE jobs.state <> 'closed' AND batches.generation = jobs.generation AND batches.committed = 0
  AND batches.lease_until < :now - 900000 AND batches.published_at < :now - 900000
  AND jobs.created_at < :now - 900000;

-- name: churn
-- Ticket. Leases end without a reply in between: workers die (memory?) or a batch is poison. Given up after five.
SELECT batches.job, batches.generation, batches.batch, batches.attempts
FROM batches JOIN jobs ON jobs.job = batches.job
WHERE jobs.state <> 'closed' AND batches.generation = jobs.generation AND batches.committed = 0
  AND batches.attempts >= 3;

-- name: unclosed
-- Ticket. Every batch is committed and the job has not closed: look for "close" in the workers' logs.
SELECT job, generation FROM jobs
WHERE state <> 'closed' AND committed >= batches AND batches > 0 AND created_at < :now - 1800000;

-- name: held
-- Ticket. Money held for an hour: its worker is gone and nobody has taken its batch up.
SELECT job, tier, count(*) AS calls, sum(amount) AS amount FROM calls
WHERE state = 'held' AND held_at < :now - 3600000 GROUP BY job, tier;

-- name: refusing
-- Ticket. A tier that answered nothing among its last hour's calls: down, over its limits, or its key is refused.
SELECT tier, count(*) AS calls FROM calls WHERE settled_at > :now - 3600000
GROUP BY tier HAVING count(*) >= 20 AND sum(CASE WHEN state = 'settled' THEN 1 ELSE 0 END) = 0;

-- name: parked
-- Page. A tier is down or refuses its key, and has been left alone for five minutes; `problem` says why.
SELECT upstream, problem FROM upstreams WHERE parked_at > 0 AND parked_at < :now - 300000;
