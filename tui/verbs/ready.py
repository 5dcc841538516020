"""wait --ready: when services take requests, and where."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tui.drawing.text import clean
from tui.verbs.base import emit, note, say, settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tui.link.client import ClusterClient


async def wait_ready(client: ClusterClient, ids: Sequence[str]) -> int:
    """Say where they are reached; exit status 1 when one ended before it was ready. Raises ClusterError."""
    from tui.documents import json_view
    from tui.link.ready import is_ready, until_ready

    tasks = await until_ready(client, ids)
    if settings().json:
        documents = [json_view.task(task) for task in tasks]
        emit(documents[0] if len(documents) == 1 else {"tasks": documents})
    for task in tasks:
        if not is_ready(task):
            why = f": {clean(task.error)}" if task.error else "."
            note(f"cortex: task {clean(task.id)} ended {json_view.task_state(task.state)} before it was ready{why}")
        elif not settings().json:
            prefix = f"{clean(task.id)}  " if len(tasks) > 1 else ""
            for endpoint in task.endpoints:
                say(f"{prefix}{clean(endpoint.name)}  {clean(endpoint.value)}")
    return int(not all(map(is_ready, tasks)))
