-- A scope's latest job beside its earlier ones.

-- name: once
-- Each answer once, with the best label it has.
CREATE TEMP TABLE answers AS
SELECT job, query_id, tier, model, category, answer, reward, label_source, p_labelled, labelled_at, finished_at, position, stands
FROM rewards QUALIFY row_number() OVER (
    PARTITION BY job, query_id, tier, model
    ORDER BY list_position(['gold', 'human', 'audit', 'judges'], label_source), labelled_at DESC, call_id, reward
) = 1;

-- name: latest
-- The latest job, by its first answer.
SELECT job FROM answers GROUP BY job ORDER BY min(finished_at) DESC, job DESC LIMIT 1;

-- name: rewards
-- Right answers of each tier over the queries it was the first to be asked of: what it was asked later follows from
-- routing. What judges believe is no test.
SELECT concat_ws(' ', tier, model) AS name, count(*) FILTER (job <> $latest) AS before,
       count(*) FILTER (job = $latest) AS now, coalesce(sum(reward) FILTER (job <> $latest), 0) AS before_right,
       coalesce(sum(reward) FILTER (job = $latest), 0) AS now_right
FROM answers WHERE label_source <> 'judges' AND p_labelled IS NOT NULL AND (position = 0 OR position IS NULL)
GROUP BY name ORDER BY name;

-- name: categories
-- Queries of each category of the taxonomy.
SELECT category AS name, count(*) FILTER (job <> $latest) AS before, count(*) FILTER (job = $latest) AS now
FROM (SELECT DISTINCT job, query_id, category FROM answers) GROUP BY name ORDER BY name;

-- name: labels
-- Queries of each answer that stands.
SELECT answer AS name, count(*) FILTER (job <> $latest) AS before, count(*) FILTER (job = $latest) AS now
FROM answers WHERE stands AND answer IS NOT NULL GROUP BY name ORDER BY name;
