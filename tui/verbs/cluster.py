"""status, cluster finalize: whether the cluster works, and the end of an upgrade."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tui.documents import json_view
from tui.drawing.text import clean
from tui.verbs.base import VerbGroup, emit, note, run, say, settings, verb

if TYPE_CHECKING:
    from cortex.v1 import cluster_pb2
    from tui.link.client import ClusterClient


@verb()
def status() -> None:
    """Show whether the cluster is healthy: leader, voters, alarms.

    The exit code is 4 when it has no leader.
    """

    async def work(client: ClusterClient) -> int:
        reply = await client.status()
        if settings().json:
            emit(json_view.status(reply))
        else:
            live = ", ".join(f"{count} {name}" for name, count in sorted(reply.tasks.items()) if count)
            fields = {
                "healthy": "yes" if reply.healthy else "no",
                "leader": f"{reply.leader or 'none'} in term {reply.term}",
                **_members(reply),
                "tasks": live or "none live",
                "index": f"{reply.index}, applied {reply.applied} by {reply.node}",
                "version": f"{reply.version}, level {reply.level}",
                "notice": reply.notice or _leaderless(reply),
            }
            for name, value in fields.items():
                if value:
                    say(f"{name + ':':<10}{clean(value)}")
            for item in reply.alarms:
                say(f"{'alarm:':<10}{clean(item.node)}: {clean(item.alarm)}")
        return 0 if reply.leader else 4

    run(work)


def _members(reply: cluster_pb2.StatusReply) -> dict[str, str]:
    """Who is up only a leader knows, and whoever follows one."""
    if not reply.leader:
        learners = ", ".join(one.id for one in reply.learners)
        return {"voters": f"{len(reply.voters)}, up or not", "learners": learners}
    up = sum(voter.up for voter in reply.voters)
    return {
        "voters": f"{up} of {len(reply.voters)} up",
        "learners": ", ".join(f"{one.id} ({'up' if one.up else 'down'})" for one in reply.learners),
        "workers": f"{reply.workers} online",
    }


def _leaderless(reply: cluster_pb2.StatusReply) -> str:
    count = len(reply.voters)
    if reply.leader or not count:
        return ""
    needed = f"{count // 2 + 1} of {count} voters" if count > 1 else "the only voter"
    return (
        f"Nothing can be changed without a leader. It takes {needed} that run and reach each other;"
        " if they are lost for good, see `cortexd recover --help`."
    )


@click.group(
    "cluster",
    cls=VerbGroup,
    verbs={"finalize": "tui.verbs.cluster:finalize"},
    context_settings={"help_option_names": ["-h", "--help"]},
)
def cluster() -> None:
    """Finish an upgrade of the cluster."""


@verb()
def finalize() -> None:
    """Finish an upgrade by raising the feature level.

    What the new release brings begins to work, and the release before it cannot come back. Until then each daemon
    can be rolled back.
    """

    async def work(client: ClusterClient) -> None:
        reply = await client.finalize()
        changed = reply.level != reply.was
        if settings().json:
            ids = [str(reply.level)] if changed else []
            emit(
                {"operation_id": reply.operation_id or None, "index": reply.index, "ids": ids, "level": reply.level}
            )
            return
        say(str(reply.level))
        told = f"was raised from {reply.was}" if changed else "stays: it is the highest that all voters know"
        note(f"cortex: feature level {reply.level} {told}")

    run(work)
