"""Differences, settings and double runs as JSON documents. Pure."""

from __future__ import annotations

import json
from typing import Any

from cortex.v1 import cluster_pb2, types_pb2
from tui.documents import json_view
from tui.documents.json_view import Document


def diff(reply: cluster_pb2.DiffReply) -> Document:
    return {
        "rows": [_row(row) for row in reply.rows],
        "truncated": reply.truncated,
        "from": {"index": reply.from_index, "at": json_view.time(reply.from_us)},
        "to": {"index": reply.to_index, "at": json_view.time(reply.to_us)},
    }


def _row(row: cluster_pb2.RowDiff) -> Document:
    fields = {item.field: {"before": item.before or None, "after": item.after or None} for item in row.fields}
    return {"table": row.table, "id": row.id, "name": row.name or None, "fields": fields}


def settings(reply: cluster_pb2.GetSettingsReply) -> Document:
    return {"settings": [setting(row) for row in reply.settings], "index": reply.index}


def setting(row: cluster_pb2.SettingView) -> Document:
    return {
        "name": row.name,
        "value": value_of(row.value),
        "default": value_of(row.default_value),
        "help": row.help,
    }


def value_of(text: str) -> Any:
    """What a JSON value says; the text itself where it is none."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def double_runs(reply: cluster_pb2.ListDoubleRunsReply) -> Document:
    return {
        "double_runs": [double_run(row) for row in reply.double_runs],
        "next_cursor": reply.next_cursor or None,
        "index": reply.index,
    }


def double_run(row: types_pb2.DoubleRun) -> Document:
    return {
        "id": row.id,
        "task": row.task,
        "run": row.run,
        "attempt": row.attempt,
        "first_node": row.first_node or None,
        "first_fence": row.first_fence or None,
        "node": row.node or None,
        "fence": row.fence or None,
        "reason": row.reason or None,
        "at": json_view.time(row.at_us),
        "index": row.index,
    }
