-- Workflows by state, kept with every save, so that a total costs the same with a million of them.
CREATE TABLE te_workflow_counts (
  state     INTEGER PRIMARY KEY,
  workflows INTEGER NOT NULL
) STRICT;
INSERT INTO te_workflow_counts SELECT state, count(*) FROM te_workflows GROUP BY state;
