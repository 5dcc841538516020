-- Which operation created a task or last revived it, to list its tasks.
ALTER TABLE te_tasks ADD COLUMN operation TEXT NOT NULL DEFAULT '';
UPDATE te_tasks SET operation = task_operation(extra) WHERE extra IS NOT NULL;
CREATE INDEX te_tasks_by_operation ON te_tasks (operation, created_index, id) WHERE operation <> '';
