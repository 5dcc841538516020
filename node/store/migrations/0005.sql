-- What each row was before an event, whose event it is, and indexes for views and lists of the past.
ALTER TABLE te_task_events ADD COLUMN workflow_id TEXT NOT NULL DEFAULT '';
ALTER TABLE te_task_events ADD COLUMN operation TEXT NOT NULL DEFAULT '';
ALTER TABLE te_task_events ADD COLUMN was_state INTEGER NOT NULL DEFAULT 0;
ALTER TABLE te_task_events ADD COLUMN was_node TEXT NOT NULL DEFAULT '';
ALTER TABLE te_task_events ADD COLUMN was_attempt INTEGER NOT NULL DEFAULT 0;
ALTER TABLE te_task_events ADD COLUMN was_run INTEGER NOT NULL DEFAULT 0;
ALTER TABLE te_task_events ADD COLUMN was_workflow_state INTEGER NOT NULL DEFAULT 0;
CREATE INDEX te_task_events_of_nodes ON te_task_events (node, log_index, number) WHERE task_id = '' AND node <> '';
CREATE INDEX te_task_events_of_workflows ON te_task_events (workflow_id, log_index, number)
  WHERE task_id = '' AND workflow_id <> '';
CREATE INDEX te_task_events_by_workflow ON te_task_events (workflow_id, log_index, number) WHERE workflow_id <> '';
CREATE INDEX te_task_events_by_operation ON te_task_events (operation, log_index, number) WHERE operation <> '';
CREATE INDEX te_task_events_audit ON te_task_events (log_index, number, actor) WHERE actor <> '';
CREATE INDEX te_task_events_rare ON te_task_events (type, log_index, number) WHERE type NOT IN (1, 2, 3, 4);
