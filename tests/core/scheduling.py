"""Small clusters for the tests of scheduling, and a scheduler that is too simple to be wrong."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from cortex.v1.types_pb2 import Gpu, Label, Node, NodeState, Resources, Setting, Slots, Task, TaskSpec, TaskType
from node.core.model import QUEUED
from node.core.queue import AGEING_US
from node.core.scheduler import Limits, Planned, Queue, plan
from node.core.score import points
from node.core.state import ClusterState

SHELL = TaskType.TASK_TYPE_SHELL
CONTAINER = TaskType.TASK_TYPE_CONTAINER
ACTIVE = NodeState.NODE_STATE_ACTIVE
NOW_US = 1_700_000_000_000_000
GB = 10**9


def node(node_id: str, slots: int = 4, **fields: Any) -> Node:
    """An active node with shell slots. labels: "key" or "key=value"; capacity: (cpu_millis, memory_bytes, gpus)."""
    row = Node(id=node_id, hostname=fields.pop("hostname", f"{node_id}.lan"), online=fields.pop("online", True))
    row.state = fields.pop("state", ACTIVE)
    row.slots.append(Slots(type=SHELL, count=slots))
    row.labels.extend(label(text) for text in fields.pop("labels", ()))
    row.capabilities.extend(fields.pop("capabilities", ()))
    capacity = fields.pop("capacity", (0, 0, 0))
    row.capacity.cpu_millis, row.capacity.memory_bytes, row.capacity.gpus = capacity
    assert not fields, fields
    return row


def label(text: str) -> Label:
    key, _, value = text.partition("=")
    return Label(key=key, value=value)


def sample(cpu: float = 20.0, memory: float = 75.0, disk: float = 50.0, **fields: Any) -> Resources:
    """CPU percent used, memory percent available of 16 GB, disk percent free of 1,000 GB."""
    return Resources(
        cpu_percent=cpu,
        memory_total_bytes=16 * GB,
        memory_available_bytes=round(16 * GB * memory / 100),
        disk_total_bytes=1000 * GB,
        disk_free_bytes=round(1000 * GB * disk / 100),
        **fields,
    )


def gpu(utilisation: float, *, gaming: bool = False) -> Gpu:
    return Gpu(name="GPU", utilisation_percent=utilisation, gaming=gaming)


def task(task_id: str, **fields: Any) -> Task:
    """A queued shell task. Fields of the constraints and requests by name, `labels` as in node()."""
    row = Task(id=task_id, state=QUEUED, priority=fields.pop("priority", 0), run=fields.pop("run", 1))
    row.created_at_us = row.queued_at_us = NOW_US
    row.spec.CopyFrom(TaskSpec(type=fields.pop("type", SHELL), argv=[b"true"]))
    row.spec.constraints.node_labels.extend(label(text) for text in fields.pop("labels", ()))
    for name, value in fields.items():
        home: Any = row
        if name in row.spec.constraints.DESCRIPTOR.fields_by_name:
            home = row.spec.constraints
        elif name in row.spec.requests.DESCRIPTOR.fields_by_name:
            home = row.spec.requests
        elif name in row.spec.DESCRIPTOR.fields_by_name:
            home = row.spec
        if isinstance(value, list | tuple):
            getattr(home, name).extend(value)
        else:
            setattr(home, name, value)
    return row


def state_of(*rows: Node | Task | Setting) -> ClusterState:
    state = ClusterState()
    state.load(rows, 1, 1, NOW_US, 0)
    return state


def pass_over(
    state: ClusterState, samples: Mapping[str, Resources], limits: Limits | None = None, most: int = 10_000
) -> list[Planned]:
    """A pass of a fresh queue."""
    queue = Queue()
    queue.load(state)
    return plan(queue, state, samples, limits or Limits(), NOW_US, most).placements


def places(planned: Iterable[Planned]) -> dict[str, str]:
    return {one.task_id: one.placement.node for one in planned}


def rank(row: Task) -> tuple[int, int, str]:
    again = row.attempt > 0 or row.losses > 0 or row.run > 1
    since_us = row.queued_at_us if again else row.created_at_us
    return (since_us - row.priority * AGEING_US, row.created_index, row.id)


def plain_plan(
    state: ClusterState, samples: Mapping[str, Resources], limits: Limits, most: int
) -> list[tuple[str, str, float]]:
    """(task, node, score) of every placement: each task in turn looks at every node anew."""
    book = _Book(state, samples, limits)
    due = [row for row in state.tasks.values() if row.state == QUEUED and row.scheduled_after_us <= NOW_US]
    placed: list[tuple[str, str, float]] = []
    for row in sorted(due, key=rank):
        if len(placed) >= most:
            break
        best = book.best(row)
        if best is not None:
            book.take(row, best[1])
            placed.append((row.id, best[1], best[0]))
    return placed


class _Book:
    def __init__(self, state: ClusterState, samples: Mapping[str, Resources], limits: Limits) -> None:
        self._state, self._samples, self._limits = state, samples, limits
        profile = state.settings.get("profile")
        self._orchestrated = profile is not None and "orchestrator" in profile.value
        self._held_by_all = sum(len(ids) for ids in state.by_node.values())
        self._on: dict[str, list[TaskSpec]] = {
            node_id: [state.tasks[one].spec for one in state.by_node.get(node_id, ())]
            for node_id in {*state.nodes, *state.by_node}
        }

    def best(self, row: Task) -> tuple[float, str] | None:
        if not self._shared_ok(row.spec):
            return None
        ranked = []
        for node_id, there in self._state.nodes.items():
            tier = self._tier(row, there) if self._fits(row, there) else None
            if tier is None or self._excluded(row, node_id):
                continue
            count = len(self._on[node_id])
            score = 0.0 if row.spec.constraints.target_node else self._score(row, there)
            order = count if row.spec.constraints.target_node else -round(score * 1e6)
            failed_here = node_id == row.node and (row.attempt > 0 or row.losses > 0)
            ranked.append((failed_here, tier, order, node_id, score))
        if not ranked:
            return None
        chosen = min(ranked)
        return chosen[4], chosen[3]

    def take(self, row: Task, node_id: str) -> None:
        self._on[node_id].append(row.spec)

    def _shared_ok(self, spec: TaskSpec) -> bool:
        running = [one for specs in self._on.values() for one in specs]
        if any(lock in one.locks for one in running for lock in spec.locks):
            return False
        alike = sum(one.limit_count > 0 and one.limit_key == spec.limit_key for one in running)
        return spec.limit_count == 0 or alike < spec.limit_count

    def _tier(self, row: Task, there: Node) -> int | None:
        held = sum(spec.type == row.spec.type for spec in self._on[there.id])
        slots = sum(offer.count for offer in there.slots if offer.type == row.spec.type)
        requests = row.spec.requests
        holds = row.spec.locks or row.spec.limit_count
        holds = holds or requests.cpu_millis or requests.memory_bytes or requests.gpus
        if held < slots:
            return 0
        more = 0 if holds else self._limits.prefetch_of(there.id)
        return 1 if slots and held < slots + more else None

    def _fits(self, row: Task, there: Node) -> bool:
        wanted, requests, seen = row.spec.constraints, row.spec.requests, self._samples.get(there.id)
        names = {there.id, there.hostname}
        if there.state != ACTIVE or not there.online:
            return False
        if self._limits.reachable is not None and there.id not in self._limits.reachable:
            return False
        for need, have, field in (
            (requests.cpu_millis, there.capacity.cpu_millis, "cpu_millis"),
            (requests.memory_bytes, there.capacity.memory_bytes, "memory_bytes"),
            (requests.gpus, there.capacity.gpus, "gpus"),
        ):
            if need and need > have - sum(getattr(spec.requests, field) for spec in self._on[there.id]):
                return False
        if wanted.target_node and wanted.target_node not in names:
            return False
        if wanted.allowed_nodes and not names & set(wanted.allowed_nodes):
            return False
        if names & set(wanted.excluded_nodes):
            return False
        labels = {(one.key, one.value) for one in there.labels} | {(one.key, "") for one in there.labels}
        if wanted.node_labels and not labels & {(one.key, one.value) for one in wanted.node_labels}:
            return False
        if not set(wanted.capabilities) <= set(there.capabilities):
            return False
        if wanted.target_node:
            return True
        if wanted.requires_gpu and not (seen.gpus if seen is not None else there.capacity.gpus):
            return False
        if wanted.avoid_gaming and (seen is None or seen.gaming or any(one.gaming for one in seen.gpus)):
            return False
        if wanted.min_memory_mb and (seen is None or seen.memory_available_bytes < wanted.min_memory_mb * 10**6):
            return False
        return not wanted.min_disk_gb or (seen is not None and seen.disk_free_bytes >= wanted.min_disk_gb * 10**9)

    def _excluded(self, row: Task, node_id: str) -> bool:
        """It failed there, and another node would suit it by what it declares."""
        if node_id not in row.unstartable_nodes:
            return False
        suits = Task()
        suits.CopyFrom(row)
        for name in ("avoid_gaming", "min_memory_mb", "min_disk_gb"):
            suits.spec.constraints.ClearField(name)
        empty = _Book(ClusterState(nodes=self._state.nodes), self._samples, Limits())
        return any(
            empty._tier(suits, other) is not None and empty._fits(suits, other)
            for other in self._state.nodes.values()
            if other.id not in row.unstartable_nodes
        )

    def _score(self, row: Task, there: Node) -> float:
        worth = points(self._samples.get(there.id))
        wanted = row.spec.constraints
        if self._orchestrated:
            return self._orchestrated_score(row, there) + worth.gaming
        score = worth.cpu + worth.memory + worth.disk + worth.network + worth.gaming - 5 * len(self._on[there.id])
        if wanted.requires_gpu or row.spec.requests.gpus:
            score += worth.gpu
        return score + 5 * len(set(wanted.preferred_capabilities) & set(there.capabilities))

    def _orchestrated_score(self, row: Task, there: Node) -> float:
        """In whole millionths, rounded down."""
        liked = set(row.spec.constraints.preferred_capabilities)
        capability = 30 * 10**6 * len(liked & set(there.capabilities)) // len(liked) if liked else 30 * 10**6
        slots = sum(offer.count for offer in there.slots if offer.type == row.spec.type)
        held = [spec.type for spec in self._on[there.id]]
        load = 15 * 10**6 * (slots - held.count(row.spec.type)) // slots
        everything = self._held_by_all
        fairness = 5 * 10**6 * max(0, everything - len(held)) // everything if everything else 5 * 10**6
        return 5 * row.priority + (capability + load + fairness) / 10**6


def ids(planned: Sequence[Planned]) -> list[str]:
    return [one.task_id for one in planned]
