"""What is waited for when a cluster of this machine starts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from tui.errors import ClusterError
from tui.machine.local import LOG_FILE, POLL_S, LocalCluster

READY_S = 60.0
JOIN_S = 10.0
SUPERVISORS_BEGIN_S = 5.0


async def wait_until_led(cluster: LocalCluster, status: Callable[[], Any], timeout_s: float = READY_S) -> None:
    """Returns when `status()` says healthy. Raises ClusterError when a daemon ends or the time is over."""
    deadline = time.monotonic() + timeout_s
    while True:
        cluster.check_started()
        try:
            reply = await status()
            if reply.healthy:
                return
            waits_for = "no leader was elected"
        except ClusterError as error:
            if not error.transient:
                raise
            waits_for = error.message.rstrip(".")
        if time.monotonic() > deadline:
            raise ClusterError(
                "no_leader",
                f"The cluster did not get ready within {timeout_s:.0f} s: {waits_for}.",
                f"See the logs {cluster.folder}/*/{LOG_FILE}; it goes on trying until `cortex down`.",
            )
        await asyncio.sleep(POLL_S)


async def wait_until_joined(
    cluster: LocalCluster, nodes: Callable[[], Awaitable[Any]], timeout_s: float = JOIN_S
) -> list[str]:
    """Returns when `nodes()` lists all of the cluster as online, or with those that it does not in time.

    Raises ClusterError when a daemon ends.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        cluster.check_started()
        late = [node.id for node in cluster.nodes]
        with suppress(ClusterError):
            there = {view.node.id for view in (await nodes()).nodes if view.node.online}
            late = [node_id for node_id in late if node_id not in there]
        if not late or time.monotonic() >= deadline:
            return late
        await asyncio.sleep(POLL_S)


async def wait_for_supervisors(cluster: LocalCluster, timeout_s: float = SUPERVISORS_BEGIN_S) -> None:
    """Returns when cluster.json names every supervisor; a leader may serve before the last one runs."""
    deadline = time.monotonic() + timeout_s
    while True:
        if cluster.note_supervisors() or time.monotonic() >= deadline:
            return
        await asyncio.sleep(POLL_S)
