-- A store as schema 1 kept it, with a few rows. Never edited: it is what an older release may have left.
PRAGMA application_id = 1129601073;
BEGIN TRANSACTION;
CREATE TABLE meta (
  one            INTEGER PRIMARY KEY CHECK (one = 1),
  schema_version INTEGER NOT NULL,
  saved_index    INTEGER NOT NULL,  
  saved_term     INTEGER NOT NULL,
  saved_at       INTEGER NOT NULL,  
  digest         BLOB NOT NULL      
) STRICT;
INSERT INTO "meta" VALUES(1,1,6,2,1000,X'76A41F4B4BC85E29A2AB1D2C5B30208C');
CREATE TABLE nodes (
  id       TEXT PRIMARY KEY,
  hostname TEXT NOT NULL,
  state    INTEGER NOT NULL,
  online   INTEGER NOT NULL,
  row      BLOB NOT NULL               
) STRICT;
INSERT INTO "nodes" VALUES('n1','one',2,1,X'0A026E3112036F6E6520023001');
CREATE TABLE replies (
  id  TEXT PRIMARY KEY,                
  at  INTEGER NOT NULL,
  row BLOB NOT NULL                    
) STRICT;
INSERT INTO "replies" VALUES('c',5,X'0A016312017218012201782805');
CREATE TABLE settings (
  id  TEXT PRIMARY KEY,
  row BLOB NOT NULL                    
) STRICT;
INSERT INTO "settings" VALUES('max_queue_depth',X'0A0F6D61785F71756575655F6465707468120139');
CREATE TABLE submit_keys (
  id       TEXT PRIMARY KEY,
  task_id  TEXT NOT NULL,
  ended_at INTEGER NOT NULL,           
  row      BLOB NOT NULL               
) STRICT;
INSERT INTO "submit_keys" VALUES('k','t0',0,X'0A016B12027430');
CREATE TABLE te_task_dependencies (
  workflow_id TEXT NOT NULL,
  task_id     TEXT NOT NULL,
  depends_on  TEXT NOT NULL,           
  PRIMARY KEY (workflow_id, task_id, depends_on)
) STRICT, WITHOUT ROWID;
CREATE TABLE te_task_events (
  log_index  INTEGER NOT NULL,
  number     INTEGER NOT NULL,         
  task_id    TEXT NOT NULL,            
  type       INTEGER NOT NULL,
  node       TEXT NOT NULL,
  detail     TEXT NOT NULL,
  at         INTEGER NOT NULL,
  state      INTEGER NOT NULL,         
  attempt    INTEGER NOT NULL,
  run        INTEGER NOT NULL,
  node_state INTEGER NOT NULL,
  actor      TEXT NOT NULL,
  extra      BLOB,                     
  PRIMARY KEY (log_index, number)
) STRICT, WITHOUT ROWID;
INSERT INTO "te_task_events" VALUES(1,0,'t0',1,'','',5,2,0,0,0,'',NULL);
INSERT INTO "te_task_events" VALUES(2,0,'',16,'n1','',6,0,0,0,2,'',NULL);
CREATE TABLE te_tasks (
  id                TEXT PRIMARY KEY,
  workflow_id       TEXT NOT NULL,     
  task_key          TEXT NOT NULL,
  name              TEXT NOT NULL,
  type              INTEGER NOT NULL,  
  state             INTEGER NOT NULL,
  priority          INTEGER NOT NULL,
  assigned_node     TEXT NOT NULL,     
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
  unstartable_nodes TEXT,              
  placement         BLOB,              
  constraints       BLOB,              
  retry_policy      BLOB,              
  spec              BLOB,              
  extra             BLOB,              
  result            BLOB               
) STRICT;
INSERT INTO "te_tasks" VALUES('t0','','','Job 0',1,2,0,'',0,1,0,0,0,'','',0,0,0,0,0,0,0,0,1,2,0,'',0,'','','',NULL,NULL,X'1805',X'0803',X'080112092F62696E2F4563686F120568FF692030',NULL,NULL);
INSERT INTO "te_tasks" VALUES('t1','','','Job 1',1,4,1,'n1',0,1,0,0,0,'','',0,0,0,0,0,0,0,0,2,3,0,'',0,'','','',NULL,NULL,X'1805',X'0803',X'080112092F62696E2F4563686F120568FF692031',NULL,NULL);
INSERT INTO "te_tasks" VALUES('t2','','','Job 2',1,5,2,'n1',0,1,0,0,0,'','',0,0,0,0,0,52,0,0,3,4,0,'',0,'','','',NULL,NULL,X'1805',X'0803',X'080112092F62696E2F4563686F120568FF692032',NULL,X'0802');
INSERT INTO "te_tasks" VALUES('t3','','','Job 3',1,5,3,'n2',0,1,0,0,0,'','',0,0,0,0,0,53,0,0,4,5,0,'',0,'','','',NULL,NULL,X'1805',X'0803',X'080112092F62696E2F4563686F120568FF692033',NULL,X'0803');
INSERT INTO "te_tasks" VALUES('t4','','','Job 4',1,9,4,'n2',0,1,0,0,0,'','',0,0,0,0,0,54,77,0,5,6,0,'',0,'','','','["n1"]',NULL,X'1805',X'0803',X'080112092F62696E2F4563686F120568FF692034',NULL,X'0804');
CREATE TABLE te_workflows (
  id            TEXT PRIMARY KEY,
  name          TEXT NOT NULL,
  state         INTEGER NOT NULL,
  created_index INTEGER NOT NULL,
  created_at    INTEGER NOT NULL,
  completed_at  INTEGER NOT NULL,
  row           BLOB NOT NULL
) STRICT;
CREATE INDEX te_tasks_newest ON te_tasks (created_index, id);
CREATE INDEX te_tasks_by_state ON te_tasks (state, created_index, id);
CREATE INDEX te_tasks_by_node ON te_tasks (assigned_node, state, created_index, id);
CREATE INDEX te_tasks_by_workflow ON te_tasks (workflow_id, created_index, id) WHERE workflow_id <> '';
CREATE INDEX te_tasks_dead ON te_tasks (dead_lettered_at, id) WHERE state = 9;
CREATE INDEX te_workflows_by_state ON te_workflows (state, created_index, id);
CREATE INDEX te_task_dependencies_by_parent ON te_task_dependencies (workflow_id, depends_on, task_id);
CREATE INDEX te_task_events_by_task ON te_task_events (task_id, log_index, number) WHERE task_id <> '';
CREATE INDEX te_task_events_by_node ON te_task_events (node, log_index, number) WHERE node <> '';
CREATE INDEX te_task_events_by_time ON te_task_events (at, log_index);
CREATE INDEX replies_by_time ON replies (at, id);
CREATE INDEX submit_keys_ended ON submit_keys (ended_at, id) WHERE ended_at > 0;
COMMIT;
