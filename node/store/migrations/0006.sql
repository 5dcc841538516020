-- Members of workflows leave with them, not by their own age.
DROP INDEX te_tasks_ended;
CREATE INDEX te_tasks_ended ON te_tasks (completed_at, id, submit_key, state, workflow_id)
  WHERE state IN (5, 6, 7, 8) AND workflow_id = '';
