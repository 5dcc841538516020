"""Which nodes a task may go to. The same filters decide in a pass and explain afterwards."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import NamedTuple, Protocol

from cortex.v1.types_pb2 import Label, Node, NodeState, Resources, SandboxLevel, TaskSpec, TaskType
from node.core.remedies import clipped, comes_with, giving
from node.core.sandbox import level_name
from node.core.score import MICROS, SUSPECT_MICROS, Points, plays, points
from node.core.weights import DEFAULT, Weights

_ACTIVE = NodeState.NODE_STATE_ACTIVE
_MB = 10**6
_GB = 10**9


class Ask(NamedTuple):
    """What a task asks of a node: equal for all tasks of one shape."""

    type: int = TaskType.TASK_TYPE_SHELL
    requires_gpu: bool = False
    avoid_gaming: bool = False
    min_memory_bytes: int = 0
    min_disk_bytes: int = 0
    labels: tuple[tuple[str, str], ...] = ()
    target: str = ""
    capabilities: frozenset[str] = frozenset()
    preferred: frozenset[str] = frozenset()
    allowed: frozenset[str] = frozenset()
    excluded: frozenset[str] = frozenset()
    cpu_millis: int = 0
    memory_bytes: int = 0
    gpus: int = 0
    prefetchable: bool = True
    wants_gpu: bool = False  # scored with the GPU's term
    sandbox: int = 0  # level that the node must offer; 0 = none

    def reserves(self) -> bool:
        return self.cpu_millis > 0 or self.memory_bytes > 0 or self.gpus > 0


def may_wait(spec: TaskSpec) -> bool:
    """Whether a task may wait on its node for a slot: what holds something exclusively must not meanwhile."""
    if spec.locks or spec.limit_count:
        return False
    requests = spec.requests
    return not (requests.cpu_millis > 0 or requests.memory_bytes > 0 or requests.gpus > 0)


def ask_of(spec: TaskSpec) -> Ask:
    wanted, requests = spec.constraints, spec.requests
    cpu_millis, memory_bytes, gpus = requests.cpu_millis, requests.memory_bytes, requests.gpus
    return Ask(
        type=spec.type,
        requires_gpu=wanted.requires_gpu,
        avoid_gaming=wanted.avoid_gaming,
        min_memory_bytes=wanted.min_memory_mb * _MB,
        min_disk_bytes=wanted.min_disk_gb * _GB,
        labels=tuple(sorted((label.key, label.value) for label in wanted.node_labels)),
        target=wanted.target_node,
        capabilities=frozenset(wanted.capabilities),
        preferred=frozenset(wanted.preferred_capabilities),
        allowed=frozenset(wanted.allowed_nodes),
        excluded=frozenset(wanted.excluded_nodes),
        cpu_millis=cpu_millis,
        memory_bytes=memory_bytes,
        gpus=gpus,
        wants_gpu=wanted.requires_gpu or gpus > 0,
        prefetchable=may_wait(spec),
        sandbox=level if (level := spec.sandbox) > SandboxLevel.SANDBOX_LEVEL_NONE else 0,
    )


@dataclass(slots=True, eq=False)
class NodeInfo:
    """A node's row and last sample in the form that filters read."""

    row: Node
    sample: Resources | None
    id: str
    hostname: str
    state: int
    online: bool
    slots: dict[int, int]
    labels: dict[str, frozenset[str]]
    capabilities: frozenset[str]
    sandboxes: Mapping[int, str]  # levels that it offers, with an empty reason, and others with why not
    cpu_millis: int
    memory_bytes: int
    gpus: int
    points: Points
    micros: int
    gpu_micros: int
    penalty_micros: int  # for a game, an owner or a suspicion; within micros and gpu_micros
    gpu_count: int
    gaming: bool
    memory_available_bytes: int
    disk_free_bytes: int


def node_info(row: Node, sample: Resources | None, weights: Weights = DEFAULT) -> NodeInfo:
    worth = points(sample, weights)
    suspect_micros = SUSPECT_MICROS if row.suspect_reason else 0
    slots: dict[int, int] = {}
    for offer in row.slots:
        slots[offer.type] = slots.get(offer.type, 0) + offer.count
    return NodeInfo(
        row=row,
        sample=sample,
        id=row.id,
        hostname=row.hostname,
        state=row.state,
        online=row.online,
        slots=slots,
        labels=_labels(row.labels),
        capabilities=frozenset(row.capabilities),
        sandboxes={each.level: "" if each.available else each.reason or "?" for each in row.sandboxes},
        cpu_millis=row.capacity.cpu_millis,
        memory_bytes=row.capacity.memory_bytes,
        gpus=row.capacity.gpus,
        points=worth,
        micros=worth.micros(gpu=False) - suspect_micros,
        gpu_micros=worth.micros(gpu=True) - suspect_micros,
        penalty_micros=round(worth.gaming * MICROS) - suspect_micros,
        gpu_count=len(sample.gpus) if sample is not None else row.capacity.gpus,
        gaming=sample is not None and plays(sample),
        memory_available_bytes=sample.memory_available_bytes if sample is not None else 0,
        disk_free_bytes=sample.disk_free_bytes if sample is not None else 0,
    )


def _labels(labels: Iterable[Label]) -> dict[str, frozenset[str]]:
    values: dict[str, set[str]] = {}
    for label in labels:
        values.setdefault(label.key, set()).add(label.value)
    return {key: frozenset(found) for key, found in values.items()}


class Filter(Protocol):
    """One condition. reason() and flip() make sense for a node that does not pass."""

    def passes(self, node: NodeInfo) -> bool: ...

    def reason(self, node: NodeInfo) -> str:
        """Why it does not, as the end of a sentence."""

    def flip(self, node: NodeInfo) -> str:
        """The smallest change after which it would."""


_STATE_WORDS: dict[int, tuple[str, str]] = {
    NodeState.NODE_STATE_PENDING_APPROVAL: ("waits for approval", "approve {id}"),
    NodeState.NODE_STATE_CORDONED: ("cordoned", "uncordon {id}"),
    NodeState.NODE_STATE_DRAINING: ("draining", "uncordon {id}"),
    NodeState.NODE_STATE_DRAINED: ("drained", "uncordon {id}"),
    NodeState.NODE_STATE_REMOVED: ("removed from the cluster", "join {id} again"),
}


class StateFilter:
    def passes(self, node: NodeInfo) -> bool:
        return node.online and node.state == _ACTIVE

    def reason(self, node: NodeInfo) -> str:
        words = _STATE_WORDS.get(node.state, ("not active", ""))[0] if node.state != _ACTIVE else ""
        return " and ".join(part for part in (words, "" if node.online else "offline") if part)

    def flip(self, node: NodeInfo) -> str:
        words = _STATE_WORDS.get(node.state, ("", "activate {id}"))[1] if node.state != _ACTIVE else ""
        parts = (words.format(id=node.id), "" if node.online else f"bring {node.id} online")
        return " and ".join(part for part in parts if part)


class TypeFilter:
    def __init__(self, kind: int) -> None:
        self._kind = kind

    def passes(self, node: NodeInfo) -> bool:
        return node.slots.get(self._kind, 0) > 0

    def reason(self, node: NodeInfo) -> str:
        cause, _ = self._told(node)
        return self.kind(node) + (f": {cause}" if cause else "")

    def kind(self, node: NodeInfo) -> str:
        """The reason without what differs from node to node."""
        return f"runs no {type_name(self._kind)} tasks"

    def flip(self, node: NodeInfo) -> str:
        _, remedy = self._told(node)
        return f"on {node.id}: {remedy}" if remedy else f"give {node.id} a slot for {type_name(self._kind)} tasks"

    def _told(self, node: NodeInfo) -> tuple[str, str]:
        """Why its executor is not available there: a cause and what to do."""
        why = next((one.reason for one in node.row.executors if one.type == self._kind and not one.available), "")
        # The last sentence says what to do.
        cause, found, remedy = why.rstrip(". ").rpartition(". ")
        return clipped(cause if found else remedy), clipped(remedy if found else "")


class NameFilter:
    """target_node, allowed_nodes or excluded_nodes; each names a node by id or hostname."""

    def __init__(self, field: str, names: frozenset[str], *, wanted: bool) -> None:
        self._field = field
        self._names = names
        self._wanted = wanted

    def passes(self, node: NodeInfo) -> bool:
        return (node.id in self._names or node.hostname in self._names) == self._wanted

    def reason(self, node: NodeInfo) -> str:
        if self._field == "target_node":
            return f"target_node is {next(iter(self._names))}"
        return "not among allowed_nodes" if self._wanted else "among excluded_nodes"

    def flip(self, node: NodeInfo) -> str:
        if self._field == "target_node":
            return f"set target_node to {node.id}"
        return f"add {node.id} to allowed_nodes" if self._wanted else f"take {node.id} out of excluded_nodes"


class LabelFilter:
    """Any one suffices; a label without a value is met by every value."""

    def __init__(self, labels: tuple[tuple[str, str], ...]) -> None:
        self._labels = labels

    def passes(self, node: NodeInfo) -> bool:
        for key, value in self._labels:
            values = node.labels.get(key)
            if values is not None and (not value or value in values):
                return True
        return False

    def _names(self) -> list[str]:
        return [f"{key}={value}" if value else key for key, value in self._labels]

    def reason(self, node: NodeInfo) -> str:
        names = self._names()
        return f"label {names[0]} missing" if len(names) == 1 else f"none of the labels {', '.join(names)}"

    def flip(self, node: NodeInfo) -> str:
        return f"label {node.id} with {self._names()[0]}"


class CapabilityFilter:
    def __init__(self, wanted: frozenset[str], kind: int) -> None:
        self._wanted = wanted
        self._kind = kind

    def passes(self, node: NodeInfo) -> bool:
        return self._wanted <= node.capabilities

    def missing(self, node: NodeInfo) -> frozenset[str]:
        """Without those that come with the executor of its type, where there is none: that is one reason."""
        lacking = self._wanted - node.capabilities
        if node.slots.get(self._kind, 0) > 0:
            return lacking
        return frozenset(name for name in lacking if not comes_with(name, type_name(self._kind)))

    def reason(self, node: NodeInfo) -> str:
        return f"capability {', '.join(sorted(self.missing(node)))} missing"

    def flip(self, node: NodeInfo) -> str:
        return giving(node.id, self.missing(node))


class SandboxFilter:
    """A level above none is offered where it was tried."""

    def __init__(self, level: int) -> None:
        self._level = level
        self._name = level_name(level)

    def passes(self, node: NodeInfo) -> bool:
        return node.sandboxes.get(self._level) == ""

    def reason(self, node: NodeInfo) -> str:
        return f"sandbox level {self._name} not offered"

    def flip(self, node: NodeInfo) -> str:
        why = node.sandboxes.get(self._level, "")
        return f"make sandbox level {self._name} work on {node.id}" + (f" ({why.rstrip('.')})" if why else "")


class GpuFilter:
    def passes(self, node: NodeInfo) -> bool:
        return node.gpu_count > 0

    def reason(self, node: NodeInfo) -> str:
        return "no GPU"

    def flip(self, node: NodeInfo) -> str:
        return "drop requires_gpu"


class GamingFilter:
    def passes(self, node: NodeInfo) -> bool:
        return node.sample is not None and not node.gaming

    def reason(self, node: NodeInfo) -> str:
        return "a game runs" if node.sample is not None else "no sample of its resources yet"

    def flip(self, node: NodeInfo) -> str:
        return f"end the game on {node.id}" if node.sample is not None else f"wait for a sample of {node.id}"


class AmountFilter:
    """At least so much memory or disk free by the last sample."""

    def __init__(self, what: str, field: str, setting: str, unit: int, need_bytes: int) -> None:
        self._what = what
        self._have = attrgetter(field)
        self._setting = setting
        self._unit = unit
        self._need_bytes = need_bytes

    def passes(self, node: NodeInfo) -> bool:
        return node.sample is not None and bool(self._have(node) >= self._need_bytes)

    def reason(self, node: NodeInfo) -> str:
        if node.sample is None:
            return "no sample of its resources yet"
        return f"needs {amount(self._need_bytes - self._have(node))} more {self._what}"

    def kind(self, node: NodeInfo) -> str:
        """The reason without what differs from node to node."""
        return self.reason(node) if node.sample is None else f"too little {self._what}"

    def flip(self, node: NodeInfo) -> str:
        if node.sample is None:
            return f"wait for a sample of {node.id}"
        have = self._have(node)
        return (
            f"free {amount(self._need_bytes - have)} of {self._what} on {node.id}, "
            f"or lower {self._setting} to {have // self._unit}"
        )


def filters_of(ask: Ask, *, live: bool = True) -> tuple[Filter, ...]:
    """All conditions on the node itself, not on what runs there; without `live` none on samples."""
    rest = thresholds(ask) if live else []
    return (StateFilter(), TypeFilter(ask.type), *selectors(ask, live=live), *rest)


def selectors(ask: Ask, *, live: bool = True) -> list[Filter]:
    """Conditions that a node meets or not, beyond its state and types."""
    found: list[Filter] = []
    if ask.target:
        found.append(NameFilter("target_node", frozenset({ask.target}), wanted=True))
    if ask.allowed:
        found.append(NameFilter("allowed_nodes", ask.allowed, wanted=True))
    if ask.excluded:
        found.append(NameFilter("excluded_nodes", ask.excluded, wanted=False))
    if ask.labels:
        found.append(LabelFilter(ask.labels))
    if ask.capabilities:
        found.append(CapabilityFilter(ask.capabilities, ask.type))
    if ask.sandbox:
        found.append(SandboxFilter(ask.sandbox))
    # What follows is decided by samples: a task with a target goes there whatever they say.
    if ask.requires_gpu and not ask.target:
        found.append(GpuFilter())
    if ask.avoid_gaming and live and not ask.target:
        found.append(GamingFilter())
    return found


def thresholds(ask: Ask) -> list[Filter]:
    """Conditions on amounts that were sampled; none for a task with a target."""
    found: list[Filter] = []
    if ask.min_memory_bytes > 0 and not ask.target:
        found.append(AmountFilter("memory", "memory_available_bytes", "min_memory_mb", _MB, ask.min_memory_bytes))
    if ask.min_disk_bytes > 0 and not ask.target:
        found.append(AmountFilter("disk", "disk_free_bytes", "min_disk_gb", _GB, ask.min_disk_bytes))
    return found


def without_amounts(ask: Ask) -> Ask:
    """What shapes that differ in amounts only have in common: the nodes they may go to, and their order."""
    return ask._replace(min_memory_bytes=0, min_disk_bytes=0, cpu_millis=0, memory_bytes=0, gpus=0)


def amount(size_bytes: int) -> str:
    """Bytes in the largest decimal unit, rounded up in its last digit: never less than is needed."""
    for unit, name in ((_GB, "GB"), (_MB, "MB"), (1000, "kB")):
        if size_bytes >= unit:
            tenths = -(-size_bytes * 10 // unit)
            return f"{tenths / 10:g} {name}"
    return f"{size_bytes} bytes"


def type_name(kind: int) -> str:
    names = TaskType.DESCRIPTOR.values_by_number
    return str(names[kind].name.removeprefix("TASK_TYPE_").lower()) if kind in names else f"type {kind}"
