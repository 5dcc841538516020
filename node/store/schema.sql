-- Rows of the replicated state, derived from the log: deleting this file loses nothing that the log still has.
-- Times are unix microseconds of leader time; enums are the numbers of cortex/v1/types.proto.

CREATE TABLE meta (
  one            INTEGER PRIMARY KEY CHECK (one = 1),
  schema_version INTEGER NOT NULL,
  saved_index    INTEGER NOT NULL,  -- log index that all rows stand for
  saved_term     INTEGER NOT NULL,
  saved_at       INTEGER NOT NULL,  -- leader time of that entry
  digest         BLOB NOT NULL      -- of the state at saved_index, 16 bytes, big-endian
) STRICT;

CREATE TABLE te_tasks (
  id                TEXT PRIMARY KEY,
  workflow_id       TEXT NOT NULL,     -- empty = none
  task_key          TEXT NOT NULL,
  name              TEXT NOT NULL,
  type              INTEGER NOT NULL,  -- of the spec
  state             INTEGER NOT NULL,
  priority          INTEGER NOT NULL,
  assigned_node     TEXT NOT NULL,     -- of the current or last assignment; empty = none
  attempt           INTEGER NOT NULL,
  run               INTEGER NOT NULL,
  fence             INTEGER NOT NULL,
  losses            INTEGER NOT NULL,
  cause             INTEGER NOT NULL,
  error             TEXT NOT NULL,
  reason            TEXT NOT NULL,
  scheduled_after   INTEGER NOT NULL,
  created_at        INTEGER NOT NULL,
  queued_at         INTEGER NOT NULL,
  assigned_at       INTEGER NOT NULL,
  started_at        INTEGER NOT NULL,
  completed_at      INTEGER NOT NULL,
  dead_lettered_at  INTEGER NOT NULL,
  lost_at           INTEGER NOT NULL,
  created_index     INTEGER NOT NULL,
  modified_index    INTEGER NOT NULL,
  cancel_requested  INTEGER NOT NULL,
  cancel_reason     TEXT NOT NULL,
  migrate_requested INTEGER NOT NULL,
  submit_key        TEXT NOT NULL,
  actor             TEXT NOT NULL,
  fingerprint       TEXT NOT NULL,
  unstartable_nodes TEXT,              -- JSON list
  placement         BLOB,              -- cortex.v1.Placement
  constraints       BLOB,              -- cortex.v1.Constraints of the spec
  retry_policy      BLOB,              -- cortex.v1.RetryPolicy of the spec
  spec              BLOB,              -- cortex.v1.TaskSpec without those two
  extra             BLOB,              -- cortex.v1.Task: fields that have no column yet
  result            BLOB,              -- cortex.v1.TaskResult
  operation         TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX te_tasks_newest ON te_tasks (created_index, id);
CREATE INDEX te_tasks_by_state ON te_tasks (state, created_index, id);
CREATE INDEX te_tasks_by_node ON te_tasks (assigned_node, state, created_index, id);
CREATE INDEX te_tasks_by_workflow ON te_tasks (workflow_id, created_index, id) WHERE workflow_id <> '';
CREATE INDEX te_tasks_by_operation ON te_tasks (operation, created_index, id) WHERE operation <> '';
CREATE INDEX te_tasks_ended ON te_tasks (completed_at, id, submit_key, state, workflow_id)
  WHERE state IN (5, 6, 7, 8) AND workflow_id = '';
CREATE INDEX te_tasks_dead ON te_tasks (dead_lettered_at, id) WHERE state = 9;

-- What a text filter looks through, apart from the wide rows so that a scan stays narrow.
CREATE TABLE te_task_text (
  created_index INTEGER NOT NULL,
  task_id       TEXT NOT NULL,
  text          TEXT NOT NULL,         -- id, name and command, in lower case
  PRIMARY KEY (created_index, task_id)
) STRICT, WITHOUT ROWID;

-- Kept with every save, so that a total costs the same with a million ended tasks.
CREATE TABLE te_task_counts (
  state INTEGER NOT NULL,
  node  TEXT NOT NULL,                 -- of the current or last assignment; empty = none
  tasks INTEGER NOT NULL,
  PRIMARY KEY (state, node)
) STRICT, WITHOUT ROWID;

CREATE TABLE te_workflows (
  id            TEXT PRIMARY KEY,
  name          TEXT NOT NULL,
  state         INTEGER NOT NULL,
  created_index INTEGER NOT NULL,
  created_at    INTEGER NOT NULL,
  completed_at  INTEGER NOT NULL,
  row           BLOB NOT NULL
) STRICT;
-- As te_task_counts.
CREATE TABLE te_workflow_counts (
  state     INTEGER PRIMARY KEY,
  workflows INTEGER NOT NULL
) STRICT;
CREATE INDEX te_workflows_by_state ON te_workflows (state, created_index, id);

CREATE TABLE te_task_dependencies (
  workflow_id TEXT NOT NULL,
  task_id     TEXT NOT NULL,
  depends_on  TEXT NOT NULL,           -- task id
  PRIMARY KEY (workflow_id, task_id, depends_on)
) STRICT, WITHOUT ROWID;
CREATE INDEX te_task_dependencies_by_parent ON te_task_dependencies (workflow_id, depends_on, task_id);

CREATE TABLE te_task_events (
  log_index  INTEGER NOT NULL,
  number     INTEGER NOT NULL,         -- within the entry; the id is "<log_index>-<number>"
  task_id    TEXT NOT NULL,            -- empty for a node's event
  type       INTEGER NOT NULL,
  node       TEXT NOT NULL,
  detail     TEXT NOT NULL,
  at         INTEGER NOT NULL,
  state      INTEGER NOT NULL,         -- that it led to
  attempt    INTEGER NOT NULL,
  run        INTEGER NOT NULL,
  node_state INTEGER NOT NULL,
  actor      TEXT NOT NULL,
  extra      BLOB,                     -- cortex.v1.Event: fields that have no column yet
  workflow_id TEXT NOT NULL DEFAULT '',  -- empty = of no workflow
  operation  TEXT NOT NULL DEFAULT '', -- empty = of none
  was_state  INTEGER NOT NULL DEFAULT 0,  -- before its entry; 0 = the row was not there, or an event before told it
  was_node   TEXT NOT NULL DEFAULT '',
  was_attempt INTEGER NOT NULL DEFAULT 0,
  was_run    INTEGER NOT NULL DEFAULT 0,
  was_workflow_state INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (log_index, number)
) STRICT, WITHOUT ROWID;
CREATE INDEX te_task_events_by_task ON te_task_events (task_id, log_index, number) WHERE task_id <> '';
CREATE INDEX te_task_events_by_node ON te_task_events (node, log_index, number) WHERE node <> '';
CREATE INDEX te_task_events_by_time ON te_task_events (at, log_index);

CREATE TABLE nodes (
  id       TEXT PRIMARY KEY,
  hostname TEXT NOT NULL,
  state    INTEGER NOT NULL,
  online   INTEGER NOT NULL,
  row      BLOB NOT NULL               -- cortex.v1.Node
) STRICT;

CREATE TABLE replies (
  id  TEXT PRIMARY KEY,                -- client, NUL, request id
  at  INTEGER NOT NULL,
  row BLOB NOT NULL                    -- cortex.v1.StoredReply
) STRICT;
CREATE INDEX replies_by_time ON replies (at, id);

CREATE TABLE submit_keys (
  id       TEXT PRIMARY KEY,
  task_id  TEXT NOT NULL,
  ended_at INTEGER NOT NULL,           -- 0 = the task lives
  row      BLOB NOT NULL               -- cortex.v1.SubmitKey
) STRICT;
CREATE INDEX submit_keys_ended ON submit_keys (ended_at, id) WHERE ended_at > 0;

CREATE TABLE settings (
  id  TEXT PRIMARY KEY,
  row BLOB NOT NULL                    -- cortex.v1.Setting
) STRICT;

CREATE TABLE batches (
  id  TEXT PRIMARY KEY,                -- client, NUL, batch id
  row BLOB NOT NULL                    -- cortex.v1.Batch
) STRICT;

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
CREATE INDEX te_task_events_of_nodes ON te_task_events (node, log_index, number) WHERE task_id = '' AND node <> '';
CREATE INDEX te_task_events_of_workflows ON te_task_events (workflow_id, log_index, number)
  WHERE task_id = '' AND workflow_id <> '';
CREATE INDEX te_task_events_by_workflow ON te_task_events (workflow_id, log_index, number) WHERE workflow_id <> '';
CREATE INDEX te_task_events_by_operation ON te_task_events (operation, log_index, number) WHERE operation <> '';
CREATE INDEX te_task_events_audit ON te_task_events (log_index, number, actor) WHERE actor <> '';
CREATE INDEX te_task_events_rare ON te_task_events (type, log_index, number) WHERE type NOT IN (1, 2, 3, 4);
