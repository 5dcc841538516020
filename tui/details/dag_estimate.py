"""When a workflow will have ended, judged by how long what ended in it took. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cortex.v1 import types_pb2
from tui.columns.tasks import run_us
from tui.dag.walk import critical_path, finish_s
from tui.store.dag_model import DagModel
from tui.store.view import ENDED, ClusterView

LEAST_S = 1.0
"""What a task that has not ended still takes, at least."""


@dataclass(frozen=True)
class Finish:
    """The way through what remains that takes longest."""

    keys: tuple[str, ...]
    """Tasks on it, first to last; empty when all have ended."""
    end_us: int
    """Leader time, unix; 0 when nothing tells how long a task takes."""


def slots_at_once(model: DagModel, view: ClusterView) -> int:
    """How many of its tasks the nodes that are open can run at once; 0 when no node says so."""
    types = {task.spec.type for task in model.members.tasks.values()}
    open_nodes = [
        row.node for row in view.nodes.values() if row.node.online and row.node.state == types_pb2.NODE_STATE_ACTIVE
    ]
    return sum(slots.count for node in open_nodes for slots in node.slots if slots.type in types)


def finish(model: DagModel, now_us: int, at_once: int = 0) -> Finish:
    """`at_once`: how many tasks can run at a time, 0 = any number. Costs what the whole workflow has."""
    took_s = _took_s(model)
    mean_s = sum(took_s.values()) / len(took_s) if took_s else 0.0

    def remaining_s(key: str) -> float:
        task = model.task(key)
        if task.state in ENDED:
            return 0.0
        ran_us = run_us(task, now_us) or 0
        return max(LEAST_S, took_s.get(_kind(task), mean_s) - ran_us / 1e6)

    graph = model.folds.graph
    path = critical_path(graph, remaining_s)
    if not took_s or not path.keys:
        return Finish(path.keys, 0)
    running = {
        model.keys[task.member]
        for task in model.members.tasks.values()
        if task.state == types_pb2.TASK_STATE_RUNNING
    }
    left_s = finish_s(graph, remaining_s, running, at_once) if at_once else path.remaining_s
    return Finish(path.keys, now_us + round(left_s * 1e6))


def _kind(task: types_pb2.Task) -> str:
    """What tasks of which one foretells the other have in common."""
    return task.template or task.task_key


def _took_s(model: DagModel) -> Mapping[str, float]:
    """Mean run time of what completed, in this run or an earlier one, by kind."""
    found: dict[str, list[float]] = {}
    for task in model.members.tasks.values():
        wall_us = int(task.result.usage.wall_us)
        if not wall_us and task.state == types_pb2.TASK_STATE_COMPLETED and task.started_at_us:
            wall_us = max(0, task.completed_at_us - task.started_at_us)
        if wall_us:
            found.setdefault(_kind(task), []).append(wall_us / 1e6)
    return {kind: sum(all_s) / len(all_s) for kind, all_s in found.items()}
