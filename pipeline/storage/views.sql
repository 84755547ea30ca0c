-- The views of a Tierwise lake. {lake} is its root. One statement per name; order matters.
--
-- Final views read what closed jobs published: one file per table and job, replaced whole, so each job shows
-- one generation. `generation` is the closed generation; `asked_in` the one that produced the row.
-- Live views read jobs that are still under way. Never add the two up: a job moves from one to the other.
-- A query fails when a file is swept or replaced between DuckDB's two looks at it ("No such file", "Invalid
-- data"); it never answers with a mixture. Run it again.

-- name: jobs
-- One row per closed job: cap, spend, how many queries ended in which status, the spec.
CREATE OR REPLACE VIEW jobs AS
SELECT * FROM read_parquet('{lake}/jobs/*/data.parquet', union_by_name = true, hive_partitioning = false);

-- name: documents
-- The documents that were asked about.
CREATE OR REPLACE VIEW documents AS
SELECT * FROM read_parquet('{lake}/documents/*/data.parquet', union_by_name = true, hive_partitioning = false);

-- name: results
-- The one final row of each query.
CREATE OR REPLACE VIEW results AS
SELECT * FROM read_parquet('{lake}/results/*/data.parquet', union_by_name = true, hive_partitioning = false);

-- name: calls
-- Each request to a tier: what it was for, what became of it, what it cost.
CREATE OR REPLACE VIEW calls AS
SELECT * FROM read_parquet('{lake}/calls/*/data.parquet', union_by_name = true, hive_partitioning = false);

-- name: call_items
-- Which queries a call carried, with each one's answer and share of the cost.
CREATE OR REPLACE VIEW call_items AS
SELECT * FROM read_parquet('{lake}/call_items/*/data.parquet', union_by_name = true, hive_partitioning = false);

-- name: decisions
-- Each tier asked for a query: what was planned, what was decided, why.
CREATE OR REPLACE VIEW decisions AS
SELECT * FROM read_parquet('{lake}/decisions/*/data.parquet', union_by_name = true, hive_partitioning = false);

-- name: votes
-- Each judge's score of an answer.
CREATE OR REPLACE VIEW votes AS
SELECT * FROM read_parquet('{lake}/votes/*/data.parquet', union_by_name = true, hive_partitioning = false);

-- name: feedback
-- Labels given after the fact, every one ever: the latest of a query stands. A null label withdraws the one before.
CREATE OR REPLACE VIEW feedback AS
SELECT * FROM read_parquet('{lake}/feedback/*/*.parquet', union_by_name = true, hive_partitioning = false)
UNION ALL BY NAME
SELECT
    NULL::VARCHAR AS reviewer, NULL::VARCHAR AS selected_by, NULL::DOUBLE AS score, NULL::VARCHAR AS reason
WHERE false;

-- name: embeddings
-- What an encoder's endpoint made of each query's text, or why it made nothing of it.
CREATE OR REPLACE VIEW embeddings AS
SELECT * FROM read_parquet('{lake}/embeddings/*/*.parquet', union_by_name = true, hive_partitioning = false);

-- name: rewards
-- What each answer paid for was worth, keyed by call.
CREATE OR REPLACE VIEW rewards AS
SELECT * FROM read_parquet('{lake}/rewards/*/*.parquet', union_by_name = true, hive_partitioning = false);

-- name: policies
-- The versions of routing policies, their parents and the rewards they used.
CREATE OR REPLACE VIEW policies AS
SELECT * EXCLUDE (snapshot) FROM read_parquet('{lake}/policies/*/*.parquet', union_by_name = true, hive_partitioning = false);

-- name: certificates
-- Whether a job's answers were certified to agree with the reference.
CREATE OR REPLACE VIEW certificates AS
SELECT * FROM read_parquet('{lake}/certificates/*/data.parquet', union_by_name = true, hive_partitioning = false)
UNION ALL BY NAME
SELECT NULL::BOOLEAN AS pending, NULL::BIGINT AS labelled, NULL::VARCHAR[] AS drawn WHERE false;

-- name: drawn
-- The rows that people are to label for a certificate, drawn by chance alone, and what they last said of each.
CREATE OR REPLACE VIEW drawn AS
SELECT c.job, c.query_id, f.label, f.reviewer, f.given_at
FROM (SELECT job, unnest(drawn) AS query_id FROM certificates) AS c
LEFT JOIN (
    FROM feedback WHERE selected_by = 'audit' AND label_source = 'human'
    QUALIFY row_number() OVER (PARTITION BY job, query_id ORDER BY given_at DESC, label NULLS LAST) = 1
) AS f ON f.job = c.job AND f.query_id = c.query_id
ORDER BY c.job, c.query_id;

-- name: releases
-- Presumed calls that came to their true cost after their job had closed; calls, results and jobs keep the charge.
CREATE OR REPLACE VIEW releases AS
SELECT * FROM read_parquet('{lake}/releases/*/*.parquet', union_by_name = true, hive_partitioning = false);

-- name: live_parts
-- The parts that a commit names, of jobs not closed in that generation. Parts of a worker that lost the race
-- to commit a batch lie in the same folders and are named by no commit.
CREATE OR REPLACE VIEW live_parts AS
SELECT job, generation, batch, part.key AS table_name, part.value AS part
FROM (
    SELECT job, generation, batch, unnest(map_entries(files)) AS part
    FROM read_json(
        '{lake}/_commits/*/*/*.json', format = 'unstructured', hive_partitioning = false,
        columns = {job: 'VARCHAR', generation: 'INTEGER', batch: 'INTEGER', files: 'MAP(VARCHAR, VARCHAR)'}
    ) AS committed
    WHERE NOT EXISTS (
        FROM jobs WHERE jobs.job = committed.job AND jobs.generation >= committed.generation
    )
);

-- name: results_live
-- `results` of the batches committed so far.
CREATE OR REPLACE VIEW results_live AS
SELECT * EXCLUDE (filename)
FROM read_parquet('{lake}/_live/results/*/*.parquet', filename = true, hive_partitioning = false)
WHERE regexp_extract(filename, '_live/[^/]+/[^/]+/[^/]+$')
    IN (SELECT part FROM live_parts WHERE table_name = 'results');

-- name: calls_live
-- `calls` of the batches committed so far.
CREATE OR REPLACE VIEW calls_live AS
SELECT * EXCLUDE (filename)
FROM read_parquet('{lake}/_live/calls/*/*.parquet', filename = true, hive_partitioning = false)
WHERE regexp_extract(filename, '_live/[^/]+/[^/]+/[^/]+$')
    IN (SELECT part FROM live_parts WHERE table_name = 'calls');

-- name: call_items_live
-- `call_items` of the batches committed so far.
CREATE OR REPLACE VIEW call_items_live AS
SELECT * EXCLUDE (filename)
FROM read_parquet('{lake}/_live/call_items/*/*.parquet', filename = true, hive_partitioning = false)
WHERE regexp_extract(filename, '_live/[^/]+/[^/]+/[^/]+$')
    IN (SELECT part FROM live_parts WHERE table_name = 'call_items');

-- name: decisions_live
-- `decisions` of the batches committed so far.
CREATE OR REPLACE VIEW decisions_live AS
SELECT * EXCLUDE (filename)
FROM read_parquet('{lake}/_live/decisions/*/*.parquet', filename = true, hive_partitioning = false)
WHERE regexp_extract(filename, '_live/[^/]+/[^/]+/[^/]+$')
    IN (SELECT part FROM live_parts WHERE table_name = 'decisions');

-- name: votes_live
-- `votes` of the batches committed so far.
CREATE OR REPLACE VIEW votes_live AS
SELECT * EXCLUDE (filename)
FROM read_parquet('{lake}/_live/votes/*/*.parquet', filename = true, hive_partitioning = false)
WHERE regexp_extract(filename, '_live/[^/]+/[^/]+/[^/]+$')
    IN (SELECT part FROM live_parts WHERE table_name = 'votes');

-- name: cost_by_tier
-- Where the money of each job went. `presumed_usd`: sent, outcome unknown, charged in full.
CREATE OR REPLACE VIEW cost_by_tier AS
SELECT
    job, tier, model, purpose, count(*) AS calls,
    sum(cost_usd) AS cost_usd,
    coalesce(sum(cost_usd) FILTER (presumed), 0) AS presumed_usd,
    sum(input_tokens + cached_input_tokens + cache_write_tokens) AS input_tokens,
    sum(output_tokens + reasoning_tokens) AS output_tokens
FROM calls
GROUP BY ALL
ORDER BY job, cost_usd DESC;

-- name: escalations
-- Queries that asked more than one tier: which, in order, and why each answer was believed or not.
CREATE OR REPLACE VIEW escalations AS
SELECT
    job, query_id, any_value(category) AS category, any_value(route) AS route,
    list(tier ORDER BY step, position) AS tiers,
    list(confidence ORDER BY step, position) AS confidences,
    list(reason ORDER BY step, position) AS reasons
FROM decisions
GROUP BY job, query_id
HAVING count(DISTINCT tier) > 1
ORDER BY job, query_id;

-- name: dearest_queries
-- Queries by what they cost, dearest first, with their share of the job's cost.
CREATE OR REPLACE VIEW dearest_queries AS
SELECT
    job, query_id, cost_usd,
    cost_usd / nullif(sum(cost_usd) OVER (PARTITION BY job), 0) AS share,
    status, answer, tier, tiers_asked, reason
FROM results
ORDER BY cost_usd DESC;

-- name: reviewed
-- The label that stands for each query someone has labelled after the fact, beside the job's own answer: who, when,
-- and the score that selected it. Chosen rows say nothing of the others: never an accuracy.
CREATE OR REPLACE VIEW reviewed AS
SELECT
    given.job, given.query_id, given.label, given.label_source, given.reviewer, given.given_at,
    given.selected_by, given.score, given.reason,
    results.status, results.answer, results.tier, results.answer = given.label AS agrees
FROM (
    FROM feedback
    QUALIFY row_number() OVER (PARTITION BY job, query_id ORDER BY given_at DESC, label NULLS LAST) = 1
) AS given
LEFT JOIN results ON results.job = given.job AND results.query_id = given.query_id
WHERE given.label IS NOT NULL
ORDER BY given.job, given.query_id;
