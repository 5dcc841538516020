"""Why queued tasks have no place: one answer for all tasks of a group, from one look at all nodes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Final

from cortex.v1.types_pb2 import Constraints, Requests, Resources, Shape, Task
from node.core.filters import AmountFilter, filters_of
from node.core.queue import Group, GroupKey, Queue
from node.core.room import Room, Rooms
from node.core.scheduler import Limits
from node.core.state import ClusterState
from node.core.transitions.services import PUT_OFFS

# Kinds of obstacles that a reason names.
_KINDS_SHOWN: Final = 3
_REASON_CHARS: Final = 200


def shape_of(key: GroupKey) -> Shape:
    """What tasks of a group have in common, as clients can make it from a task's spec."""
    shape = Shape(type=key.type, locks=key.locks, limit_key=key.limit_key, limit_count=key.limit_count)  # type: ignore[arg-type]
    shape.sandbox = key.sandbox  # type: ignore[assignment]
    if key.constraints is not None:
        shape.constraints.CopyFrom(Constraints.FromString(key.constraints))
    if key.requests is not None:
        shape.requests.CopyFrom(Requests.FromString(key.requests))
    return shape


def early(task: Task, now_us: int) -> str:
    """Why a queued task is not due yet, by leader time; empty when it is."""
    early_us = task.scheduled_after_us - now_us
    if early_us <= 0:
        return ""
    if task.cause not in PUT_OFFS:
        return f"not due for {early_us / 1e6:.1f} s"
    seconds = -(-task.scheduled_after_us // 1_000_000) % 86_400
    until = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02} UTC"
    return f"put off until {until}, since {task.error}"[:_REASON_CHARS]


class Survey:
    """All nodes at one moment. A reason costs a look at each of them, at most."""

    def __init__(self, state: ClusterState, queue: Queue, samples: Mapping[str, Resources], limits: Limits) -> None:
        self._state = state
        self._limits = limits
        rooms = Rooms(state)
        self._rooms = [
            rooms.make(queue.info(state, samples, node_id), limits.prefetch_of(node_id))
            for node_id in sorted(state.nodes)
        ]

    @property
    def nodes(self) -> int:
        return len(self._rooms)

    def reason(self, group: Group) -> str:
        """Why the due tasks of a group wait; empty when a node would take one of them now."""
        shared = self._shared(group.key)
        if shared:
            return shared
        if not self._rooms:
            return "the cluster has no nodes"
        ask = group.shape.ask
        filters = filters_of(ask)
        kinds: Counter[str] = Counter()
        for room in self._rooms:
            kind = ""
            for check in filters:
                if not check.passes(room.info):
                    kind = check.kind(room.info) if isinstance(check, AmountFilter) else check.reason(room.info)
                    break
            else:
                if not self._reachable(room):
                    kind = "not connected to the leader"
                elif room.info.id in self._limits.kept and ask.reserves():
                    kind = "kept for a task that has waited longer"
                elif room.item(ask) is not None:
                    return ""
                else:
                    kind = room.obstacles(ask)[0].kind
            kinds[kind] += 1
        return self._words(kinds)

    def _words(self, kinds: Counter[str]) -> str:
        ranked = sorted(kinds.items(), key=lambda item: (-item[1], item[0]))
        if len(self._rooms) == 1:
            return ranked[0][0][:_REASON_CHARS]
        parts = [
            f"{kind} ({'1 node' if count == 1 else f'{count} nodes'})" for kind, count in ranked[:_KINDS_SHOWN]
        ]
        if len(ranked) > _KINDS_SHOWN:
            parts.append("and more")
        return "; ".join(parts)[:_REASON_CHARS]

    def _reachable(self, room: Room) -> bool:
        reachable = self._limits.reachable
        return reachable is None or room.info.id in reachable

    def _shared(self, key: GroupKey) -> str:
        """What keeps all of them waiting, wherever they would go."""
        for lock in key.locks:
            holder = self._state.locks.get(lock)
            if holder is not None:
                return f"lock {lock} is held by task {holder}"[:_REASON_CHARS]
        held = self._state.limit_use.get(key.limit_key, 0)
        if key.limit_count and held >= key.limit_count:
            return f"limit key {key.limit_key} is used up ({held} of {key.limit_count})"[:_REASON_CHARS]
        return ""
