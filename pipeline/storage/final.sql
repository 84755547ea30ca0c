-- How a job's parts become its final table. `old` is the final file so far, `new` the rows of this generation,
-- `replaced` the queries whose earlier rows give way; {columns} casts each to its declared type.

-- name: first
-- Of a job that has no final file yet: the rows as they come, batch after batch.
COPY (
    SELECT {columns} FROM new
) TO {target} (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1, ROW_GROUP_SIZE {row_group});

-- name: merge
-- Rows already published for this generation are dropped first, so that merging twice gives the same rows.
COPY (
    SELECT {columns} FROM (
        SELECT * FROM old ANTI JOIN replaced USING (query_id) WHERE asked_in <> {generation}
        UNION ALL BY NAME
        SELECT * REPLACE ({generation} AS asked_in) FROM new
    )
) TO {target} (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1, ROW_GROUP_SIZE {row_group});

-- name: merge_by_query
-- For tables that do not say which generation asked, as `documents`: a query's new rows replace its old ones.
COPY (
    SELECT {columns} FROM (
        SELECT * FROM old ANTI JOIN new USING (query_id)
        UNION ALL BY NAME
        SELECT * FROM new
    )
) TO {target} (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1, ROW_GROUP_SIZE {row_group});

-- name: newest
-- The generation that the final file so far was published under.
SELECT max(generation) FROM old;
