-- Every view and its columns, with their types and what they hold.
SELECT v.view_name AS view, v.comment AS holds, c.column_name AS column, c.data_type AS type, c.comment
FROM duckdb_columns() c JOIN duckdb_views() v ON v.view_oid = c.table_oid
WHERE NOT v.internal
ORDER BY v.view_oid, c.column_index
