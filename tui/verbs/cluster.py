"""status: whether the cluster works."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tui import json_view
from tui.text import clean
from tui.verbs.base import emit, run, say, settings, verb

if TYPE_CHECKING:
    from tui.client import ClusterClient


@verb()
def status() -> None:
    """Say whether the cluster works, and which machines need a person. Exit code 4 when it has no leader."""

    async def work(client: ClusterClient) -> int:
        reply = await client.status()
        if settings().json:
            emit(json_view.status(reply))
        else:
            up = sum(voter.up for voter in reply.voters)
            live = ", ".join(f"{count} {name}" for name, count in sorted(reply.tasks.items()) if count)
            fields = {
                "healthy": "yes" if reply.healthy else "no",
                "leader": f"{reply.leader or 'none'} in term {reply.term}",
                "voters": f"{up} of {len(reply.voters)} up",
                "learners": ", ".join(f"{one.id} ({'up' if one.up else 'down'})" for one in reply.learners),
                "workers": f"{reply.workers} online",
                "tasks": live or "none live",
                "index": f"{reply.index}, applied {reply.applied} by {reply.node}",
                "version": f"{reply.version}, level {reply.level}",
                "notice": reply.notice,
            }
            for name, value in fields.items():
                if value:
                    say(f"{name + ':':<10}{clean(value)}")
            for item in reply.alarms:
                say(f"{'alarm:':<10}{clean(item.node)}: {clean(item.alarm)}")
        return 0 if reply.leader else 4

    run(work)
