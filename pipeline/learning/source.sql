-- Reward files as views.

-- name: rewards
CREATE TEMP VIEW rewards AS
FROM read_parquet([{files}], filename = true, file_row_number = true, hive_partitioning = false);

-- name: arms
-- What was graded: a tier that asks another model is another one.
SELECT concat_ws(' ', tier, model) AS arm FROM (SELECT DISTINCT tier, model FROM rewards) ORDER BY arm;

-- name: superseded
-- Rows that give way to another of the same answer: a better label, or a later one of the same kind. {files} are those
-- of jobs that have several.
WITH disputed AS (
    SELECT query_key, tier, model, filename, file_row_number AS place, label_source, labelled_at, call_id, reward
    FROM read_parquet([{files}], filename = true, file_row_number = true, hive_partitioning = false)
), twice AS (
    SELECT query_key, tier, model FROM disputed GROUP BY ALL HAVING count(*) > 1
)
SELECT filename, place FROM disputed SEMI JOIN twice USING (query_key, tier, model)
QUALIFY row_number() OVER (
    PARTITION BY query_key, tier, model
    ORDER BY list_position(['gold', 'human', 'audit', 'judges'], label_source), labelled_at DESC, call_id, reward
) > 1 ORDER BY filename, place;
