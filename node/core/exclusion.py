"""Nodes that a task is kept away from since it failed there: for as long as another one could be asked.

The task's row only says where it failed. What that keeps it from is judged anew each time, so that a task does not
wait for nodes that have left since.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

from cortex.v1 import types_pb2
from cortex.v1.types_pb2 import Task
from node.core.filters import Ask, NodeInfo, filters_of

NOWHERE: Final[frozenset[str]] = frozenset()


def placeable(info: NodeInfo, ask: Ask) -> bool:
    """Whether a node could be asked to take such a task, were it empty: what was sampled there aside."""
    return (
        all(check.passes(info) for check in filters_of(ask, live=False))
        and ask.cpu_millis <= max(info.cpu_millis, 0)
        and ask.memory_bytes <= max(info.memory_bytes, 0)
        and ask.gpus <= max(info.gpus, 0)
    )


class Exclusions:
    """All nodes at one moment; each distinct question is worked out once."""

    def __init__(self, infos: Iterable[NodeInfo]) -> None:
        self._infos = list(infos)
        self._known: dict[tuple[Ask, frozenset[str]], frozenset[str]] = {}

    def of(self, ask: Ask, failed_on: Collection[str]) -> frozenset[str]:
        """The nodes of `failed_on` that it is kept away from: all of them, or none when no other could be asked."""
        if not failed_on:
            return NOWHERE
        key = (ask, frozenset(failed_on))
        if key not in self._known:
            self._known[key] = key[1] if any(self._others(*key)) else NOWHERE
        return self._known[key]

    def others(self, ask: Ask, failed_on: Collection[str]) -> list[str]:
        """The nodes that could be asked instead."""
        return [info.id for info in self._others(ask, failed_on)]

    def _others(self, ask: Ask, failed_on: Collection[str]) -> Iterable[NodeInfo]:
        return (info for info in self._infos if info.id not in failed_on and placeable(info, ask))


def why_excluded(task: Task, node_id: str) -> str:
    """What it did on that node, as the end of a sentence."""
    for failure in reversed(task.failures):
        if failure.node != node_id:
            continue
        if failure.cause == types_pb2.CAUSE_IDLE:
            return "its agent was idle there before"
        if failure.blame == types_pb2.BLAME_NODE:
            return "was to blame for a failure of it before"
    return "could not start the command before"
