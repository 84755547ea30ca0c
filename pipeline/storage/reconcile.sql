-- At close the ledger has the last word on money: a call presumed when its batch was committed may since have
-- been settled at its true cost. `ledger` holds the calls of the batches to reconcile, `earlier_files` the job's
-- published calls; `results`, `calls`, `call_items` the rows of those batches' parts.

-- name: earlier
-- What generations before paid for the same queries.
CREATE OR REPLACE TEMP VIEW earlier AS
FROM earlier_files SEMI JOIN results USING (query_id) WHERE asked_in <> {generation};

-- name: calls
-- The ledger's calls, and those it never knew: local tiers and answers used again.
COPY (
    SELECT * FROM ledger
    UNION ALL BY NAME
    SELECT * FROM calls WHERE lane = 'local' OR outcome = 'reused'
) TO {target} (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1, ROW_GROUP_SIZE {row_group});

-- name: call_items
-- One row per query a call carried: its answer from the parts, its cost from the ledger.
COPY (
    SELECT c.call_id, c.job, c.generation, c.asked_in, c.batch, c.query_id,
           coalesce(i.position, 0) AS position, i.answer, c.cost_usd
    FROM (
        SELECT call_id, job, generation, asked_in, batch, query_id, cost_usd FROM ledger
        UNION ALL BY NAME
        SELECT call_id, job, generation, asked_in, batch, query_id, cost_usd
        FROM calls WHERE lane = 'local' OR outcome = 'reused'
    ) AS c LEFT JOIN call_items AS i USING (call_id)
) TO {target} (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1, ROW_GROUP_SIZE {row_group});

-- name: results
-- A query's cost and tokens are those of all calls made for it, in whatever generation; what the audit asked about it
-- is the certificate's cost, whole batches of it.
COPY (
    WITH paid AS (
        SELECT query_id, sum(cost_usd) AS cost_usd,
               sum(input_tokens) AS input_tokens, sum(cached_input_tokens) AS cached_input_tokens,
               sum(cache_write_tokens) AS cache_write_tokens, sum(output_tokens) AS output_tokens,
               sum(reasoning_tokens) AS reasoning_tokens
        FROM (SELECT * FROM ledger UNION ALL BY NAME SELECT * FROM earlier)
        WHERE (asked_in, batch) NOT IN (
            SELECT asked_in, batch FROM ledger WHERE purpose IN ('audit', 'stratum')
            UNION SELECT asked_in, batch FROM earlier WHERE purpose IN ('audit', 'stratum')
        )
        GROUP BY query_id
    )
    SELECT r.* REPLACE (
        coalesce(p.cost_usd, 0) AS cost_usd, coalesce(p.input_tokens, 0) AS input_tokens,
        coalesce(p.cached_input_tokens, 0) AS cached_input_tokens,
        coalesce(p.cache_write_tokens, 0) AS cache_write_tokens,
        coalesce(p.output_tokens, 0) AS output_tokens, coalesce(p.reasoning_tokens, 0) AS reasoning_tokens
    )
    FROM results r LEFT JOIN paid p USING (query_id)
) TO {target} (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1, ROW_GROUP_SIZE {row_group});
