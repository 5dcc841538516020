-- Totals and text filters no longer read the wide rows of all tasks.
CREATE TABLE te_task_text (
  created_index INTEGER NOT NULL,
  task_id       TEXT NOT NULL,
  text          TEXT NOT NULL,         -- id, name and command, in lower case
  PRIMARY KEY (created_index, task_id)
) STRICT, WITHOUT ROWID;
INSERT INTO te_task_text SELECT created_index, id, task_text(id, name, spec) FROM te_tasks;

CREATE TABLE te_task_counts (
  state INTEGER NOT NULL,
  node  TEXT NOT NULL,                 -- of the current or last assignment; empty = none
  tasks INTEGER NOT NULL,
  PRIMARY KEY (state, node)
) STRICT, WITHOUT ROWID;
INSERT INTO te_task_counts SELECT state, assigned_node, count(*) FROM te_tasks GROUP BY state, assigned_node;
