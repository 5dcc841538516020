"""How many rows of each kind a database has."""

from __future__ import annotations

from pathlib import Path

from node.store.connect import Connection

_TABLES = {
    "tasks": "te_tasks",
    "workflows": "te_workflows",
    "events": "te_task_events",
    "nodes": "nodes",
    "operations": "operations",
    "settings": "settings",
    "submit_keys": "submit_keys",
    "replies": "replies",
    "double_runs": "double_runs",
}


def census(path: Path) -> dict[str, int]:
    """Rows by kind. Raises StoreError."""
    connection = Connection(str(path), cache_kib=1_024, read_only=True)
    try:
        with connection.transaction() as db:
            return {
                kind: int(db.execute(f"SELECT count(*) FROM {table}").fetchone()[0])
                for kind, table in _TABLES.items()
            }
    finally:
        connection.close()
