"""What a drain would do, before it is done: where each task of the node would land, which have nowhere to go.

The rehearsal is the scheduler's own pass over a working copy in which the node is cordoned and its tasks wait in
the queue. What its plan means later stands in drain_plan.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, NamedTuple

from cortex.v1.types_pb2 import (
    DrainMove,
    DrainPlan,
    DrainStuck,
    Node,
    NodeState,
    Placement,
    Resources,
    Task,
)
from node.core import scheduler
from node.core.drain_plan import NOT_RETRYABLE, Options, may_migrate, quorum
from node.core.exclusion import Exclusions
from node.core.filters import Ask, NodeInfo, ask_of, filters_of
from node.core.model import ASSIGNED, QUEUED, Change, Table
from node.core.room import Room
from node.core.scheduler import Limits, Queue
from node.core.state import ClusterState

# Placements of one rehearsal: what waits in the queue already competes with the node's tasks.
_PLACEMENTS_LIMIT: Final = 20_000
_REASON_CHARS: Final = 200
_REASONS: Final = 3


class Times(NamedTuple):
    """How long things took lately, in milliseconds; None while nothing is known."""

    stop_ms: int | None = None  # from the request to end a command to its end
    run_ms: int | None = None  # of a command, from start to success


@dataclass(frozen=True, slots=True)
class Scene:
    """The cluster as a rehearsal finds it. `queue` has observed what led to `state`, and is left as it was."""

    queue: Queue
    state: ClusterState
    samples: Mapping[str, Resources]
    limits: Limits
    voters: Mapping[str, bool]  # by node id: whether it is up
    now_us: int  # leader time
    times: Times


def rehearse(scene: Scene, node_id: str, options: Options, plan_id: str) -> DrainPlan:
    """The plan of a drain of `node_id`, which is a node of the state, begun now."""
    state = scene.state
    node = state.nodes[node_id]
    plan = DrainPlan(
        id=plan_id,
        node=node_id,
        deadline_ms=options.deadline_ms,
        force=options.force,
        keep_cordoned=options.keep_cordoned,
        max_parallel=options.max_parallel,
        message=options.message,
        hold=options.hold,
        quorum=quorum(scene.voters, node_id),
        index=state.index,
        former_state=node.state,
    )
    moving: list[Task] = []
    staying: list[Task] = []
    for task_id in sorted(state.by_node.get(node_id, ())):
        task = state.tasks[task_id]
        if task.cancel_requested:
            continue  # it ends there, however the drain goes
        if may_migrate(task):
            moving.append(task)
        else:
            staying.append(task)
            plan.stuck.append(_left_behind(task, options))
    _land(scene, node, moving, plan)
    plan.eta_ms = _eta_ms(scene, moving, staying, options)
    return plan


def _left_behind(task: Task, options: Options) -> DrainStuck:
    """A task that the drain does not move."""
    ends = options.deadline_ms > 0 and not options.hold
    if task.lost_at_us:
        why = "Its machine is lost, and nobody knows whether it still runs"
        then = "at the deadline it becomes a dead letter" if ends else "it waits for an operator"
    else:
        why = f"It {NOT_RETRYABLE}"
        if task.state == ASSIGNED:
            why += " and has not started: if it has when the drain begins"
        then = "it runs on, and becomes a dead letter at the deadline" if ends else "it runs on until it ends"
    return DrainStuck(
        task=task.id, reason=f"{why}{',' if task.state == ASSIGNED else ':'} {then}.", dead_letter=ends
    )


def _land(scene: Scene, node: Node, moving: list[Task], plan: DrainPlan) -> None:
    """Fill in where the tasks would land, and which would not."""
    state = _without(scene.state, node, moving)
    with _queued(scene.queue, moving, scene.now_us):
        found = scheduler.plan(scene.queue, state, scene.samples, scene.limits, scene.now_us, _PLACEMENTS_LIMIT)
    landing = {planned.task_id: planned.placement for planned in found.placements}
    places = _Places(scene, state, node.id)
    for task in moving:
        placement = landing.get(task.id)
        if placement is not None:
            plan.moves.append(_move(task, placement))
            continue
        obstacle = places.obstacle(task)
        if obstacle is not None:
            plan.stuck.append(DrainStuck(task=task.id, reason=obstacle))
        else:
            plan.moves.append(DrainMove(task=task.id, reason=_waits(state, task)))


def _move(task: Task, placement: Placement) -> DrainMove:
    begun = "" if task.state != ASSIGNED else "It has not started. "
    return DrainMove(task=task.id, to=placement.node, reason=(begun + placement.reason)[:_REASON_CHARS])


def _waits(state: ClusterState, task: Task) -> str:
    for lock in sorted(set(task.spec.locks)):
        if lock in state.locks:
            return f"It waits in the queue until lock {lock} is free."
    return "It waits in the queue until a node has room for it."


def _without(state: ClusterState, node: Node, moving: Iterable[Task]) -> ClusterState:
    """What a pass reads, with the node cordoned and the moving tasks off it."""
    cordoned = Node()
    cordoned.CopyFrom(node)
    cordoned.state = NodeState.NODE_STATE_CORDONED
    gone = {task.id for task in moving}
    fewer = Counter(task.spec.limit_key for task in moving if task.spec.limit_count)
    left = Counter(state.counts)
    left.subtract(task.state for task in moving)
    return ClusterState(
        index=state.index,
        nodes={**state.nodes, node.id: cordoned},
        settings=state.settings,
        counts=dict(left),
        use={node_id: use for node_id, use in state.use.items() if node_id != node.id},
        locks={lock: holder for lock, holder in state.locks.items() if holder not in gone},
        limit_use={key: count - fewer[key] for key, count in state.limit_use.items()},
    )


@contextmanager
def _queued(queue: Queue, tasks: Iterable[Task], now_us: int) -> Iterator[None]:
    """Let the tasks wait in the queue, as an acknowledged migration leaves them, and take them out again."""
    changes: list[Change] = []
    for task in tasks:
        waiting = Task()
        waiting.CopyFrom(task)
        waiting.state = QUEUED
        waiting.queued_at_us = now_us
        waiting.scheduled_after_us = 0
        changes.append(Change(Table.TASKS, task.id, task, waiting))
    try:
        queue.observe(changes)
        yield
    finally:
        queue.observe(Change(change.table, change.id, change.new, change.old) for change in changes)


class _Places:
    """Whether anything could ever take a task, were its slots free; worked out once per distinct ask."""

    def __init__(self, scene: Scene, state: ClusterState, leaving: str) -> None:
        self._reachable = scene.limits.reachable
        self._infos = [
            scene.queue.info(state, scene.samples, node_id) for node_id in sorted(state.nodes) if node_id != leaving
        ]
        self._exclusions = Exclusions(self._infos)
        self._known: dict[tuple[Ask, frozenset[str]], str | None] = {}

    def obstacle(self, task: Task) -> str | None:
        """Why nothing takes it, in one sentence; None when it only has to wait."""
        ask = ask_of(task.spec)
        key = (ask, self._exclusions.of(ask, task.unstartable_nodes))
        if key not in self._known:
            self._known[key] = self._search(*key)
        return self._known[key]

    def _search(self, ask: Ask, excluded: frozenset[str]) -> str | None:
        filters = filters_of(ask)
        reasons: Counter[str] = Counter()
        for info in self._infos:
            reason = next((check.reason(info) for check in filters if not check.passes(info)), "")
            reason = reason or self._beyond(info, ask, excluded)
            if not reason:
                return None
            reasons[reason] += 1
        if not reasons:
            return "There is no other node."
        parts = [
            f"{reason} ({count} node{'s' if count > 1 else ''})" for reason, count in reasons.most_common(_REASONS)
        ]
        more = "; ..." if len(reasons) > _REASONS else ""
        return f"No other node takes it: {'; '.join(parts)}{more}"[: _REASON_CHARS - 1] + "."

    def _beyond(self, info: NodeInfo, ask: Ask, excluded: frozenset[str]) -> str:
        if self._reachable is not None and info.id not in self._reachable:
            return "not connected to the leader"
        if info.id in excluded:
            return "it failed there before"
        room = Room(info, None, 0)
        if room.fits(ask):
            return ""
        return next((obstacle.reason for obstacle in room.obstacles(ask)), "too small")


def _eta_ms(scene: Scene, moving: list[Task], staying: list[Task], options: Options) -> int:
    """From the begin of the drain until the node is empty: the later of the last migration and the last end.

    A migration takes what stops took lately, else its kill timeout, and max_parallel of them go on at once. What
    runs on is expected to take what runs took lately; one that took longer, or of which nothing is known, as long
    again as it has run already. The deadline ends both. What is held or lost without a deadline is not waited for.
    """
    times = scene.times
    stops = sorted(
        (_stop_ms(task, times) for task in moving if task.state != ASSIGNED and not task.migrate_requested),
        reverse=True,
    )
    eta = sum(stops[:: options.max_parallel]) if options.max_parallel else max(stops, default=0)
    for task in staying:
        if not task.lost_at_us:
            eta = max(eta, _left_ms(task, times, scene.now_us))
        elif options.deadline_ms and not options.hold:
            eta = options.deadline_ms
    if options.deadline_ms and not (options.hold and staying):
        eta = min(eta, options.deadline_ms)
    return eta


def _stop_ms(task: Task, times: Times) -> int:
    most = task.spec.kill_timeout_ms
    return most if times.stop_ms is None else min(most, times.stop_ms)


def _left_ms(task: Task, times: Times, now_us: int) -> int:
    so_far = max(0, now_us - task.started_at_us) // 1000 if task.started_at_us else 0
    if times.run_ms is not None and times.run_ms > so_far:
        return times.run_ms - so_far
    return so_far
