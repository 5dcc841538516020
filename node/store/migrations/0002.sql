-- Totals and text filters no longer read the wide rows of all tasks.
CREATE TABLE te_task_text (
  created_index INTEGER NOT NULL,
  task_id       TEXT NOT NULL,
  text          TEXT NOT NULL,         -- id, name and command, in lower case
  PRIMARY KEY (created_index, task_id)
) STRICT, WITHOUT ROWID;
INSERT INTO te_task_text SELECT created_index, id, task_text(id, name, spec) FROM te_tasks;

CREATE TABLE te_task_counts (
  state INTEGER PRIMARY KEY,
  tasks INTEGER NOT NULL
) STRICT;
INSERT INTO te_task_counts SELECT state, count(*) FROM te_tasks GROUP BY state;
