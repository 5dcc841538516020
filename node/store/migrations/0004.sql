-- Operations, double runs, and what lists workflows and causes.
CREATE TABLE operations (
  id            TEXT PRIMARY KEY,
  state         INTEGER NOT NULL,
  created_index INTEGER NOT NULL,
  ended_at      INTEGER NOT NULL,      -- 0 = it lives
  row           BLOB NOT NULL          -- cortex.v1.Operation
) STRICT;
CREATE INDEX operations_by_state ON operations (state, id);
CREATE INDEX operations_newest ON operations (created_index, id);
CREATE INDEX operations_ended ON operations (ended_at, id) WHERE ended_at > 0;

CREATE TABLE double_runs (
  id        TEXT PRIMARY KEY,
  task_id   TEXT NOT NULL,
  at        INTEGER NOT NULL,
  log_index INTEGER NOT NULL,
  row       BLOB NOT NULL              -- cortex.v1.DoubleRun
) STRICT;
CREATE INDEX double_runs_newest ON double_runs (log_index, id);
CREATE INDEX double_runs_by_task ON double_runs (task_id, log_index, id);
CREATE INDEX te_workflows_newest ON te_workflows (created_index, id);
CREATE INDEX te_workflows_ended ON te_workflows (completed_at, id) WHERE completed_at > 0;
CREATE INDEX te_tasks_by_cause ON te_tasks (fingerprint, dead_lettered_at, id) WHERE state = 9;
