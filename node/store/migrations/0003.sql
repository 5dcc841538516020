-- Batches of several entries, and the oldest of what has ended.
CREATE TABLE batches (
  id  TEXT PRIMARY KEY,                -- client, NUL, batch id
  row BLOB NOT NULL                    -- cortex.v1.Batch
) STRICT;
CREATE INDEX te_tasks_ended ON te_tasks (completed_at, id, submit_key, state) WHERE state IN (5, 6, 7, 8);
