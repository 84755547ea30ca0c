-- The views of a Tierwise lake. {lake} is its root. One statement per name; order matters. `table` and `live` are
-- made once for each table, whose comments stand in schemas/tables.py; lines `-- column, column: …` are the comments of columns.
--
-- Final views read what closed jobs published: one file per table and job, replaced whole, so each job shows
-- one generation. `generation` is the closed generation; `asked_in` the one that produced the row.
-- Live views read jobs that are still under way. Never add the two up: a job moves from one to the other.
-- A query fails when a file is swept or replaced between DuckDB's two looks at it ("No such file", "Invalid
-- data"); it never answers with a mixture. Run it again.

-- name: table
CREATE OR REPLACE VIEW {table} AS
SELECT {columns} FROM read_parquet('{lake}/{table}/*/*.parquet', union_by_name = true, hive_partitioning = false);

-- name: live
CREATE OR REPLACE VIEW {table}_live AS
SELECT {columns}
FROM read_parquet('{lake}/_live/{table}/*/*.parquet', union_by_name = true, filename = true, hive_partitioning = false)
WHERE regexp_extract(filename, '_live/[^/]+/[^/]+/[^/]+$')
    IN (SELECT part FROM live_parts WHERE table_name = '{table}');

-- name: live_parts
-- The parts that a commit names, of jobs not closed in that generation. Parts of a worker that lost the race
-- to commit a batch lie in the same folders and are named by no commit.
-- job, batch: as in results
-- generation: generation that the batch was committed in
-- table_name: table that the part belongs to
-- part: key of the file in the lake
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

-- name: drawn
-- The rows that people are to label for a certificate, drawn by chance alone, and what they last said of each.
-- job, query_id: as in results
-- label: what people last said is right; null: nothing yet, or withdrawn
-- reviewer, given_at: as in feedback
CREATE OR REPLACE VIEW drawn AS
SELECT c.job, c.query_id, f.label, f.reviewer, f.given_at
FROM (SELECT job, unnest(drawn) AS query_id FROM certificates) AS c
LEFT JOIN (
    FROM feedback WHERE selected_by = 'audit' AND label_source = 'human'
    QUALIFY row_number() OVER (PARTITION BY job, query_id ORDER BY given_at DESC, label NULLS LAST) = 1
) AS f ON f.job = c.job AND f.query_id = c.query_id
ORDER BY c.job, c.query_id;

-- name: cost_by_tier
-- Where the money of each job went.
-- job, tier, model, purpose: as in calls
-- calls: how many
-- cost_usd: charged for them
-- presumed_usd: the part of it that was sent, outcome unknown, charged in full
-- input_tokens: input tokens of all classes
-- output_tokens: output tokens of all classes
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
-- job, query_id, category, route: as in decisions
-- tiers: tiers that were asked, in order
-- confidences: P(correct) of each one's answer
-- reasons: why each was believed or not
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
-- job, query_id, cost_usd, status, answer, tier, tiers_asked, reason: as in results
-- share: its part of the job's cost, 0 to 1; null: the job cost nothing
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
-- job, query_id, label, label_source, reviewer, given_at, selected_by, score, reason: as in feedback
-- status, answer, tier: as in results
-- agrees: the job's own answer is the label; null: it gave none
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
