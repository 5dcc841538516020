"""Why tasks wait, for lists and watchers: computed when somebody asks, per group of tasks, kept for a moment."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import NamedTuple

from cortex.v1.cluster_pb2 import Waiting
from cortex.v1.types_pb2 import Shape
from node.core.queue import Group, GroupKey
from node.core.waiting import Survey, shape_of
from node.env import Clock
from node.leader.planner import Planner
from node.leader.port import Replica

_FRESH_US = 1_000_000
# Looks at a node that may be spent each second, about 25 ms; what is left over is told a second later.
_LOOKS = 50_000
SHAPES_LIMIT = 1_000


class _Known(NamedTuple):
    reason: str
    at_us: int
    shape: Shape


class Waits:
    """Kept while leading only. Times are of the boot clock."""

    def __init__(self, clock: Clock, replica: Replica, planner: Planner) -> None:
        self._clock = clock
        self._replica = replica
        self._planner = planner
        self._known: dict[GroupKey, _Known] = {}
        self._survey: Survey | None = None
        self._surveyed_us = 0
        self._looks = 0

    def reason(self, task_id: str) -> str:
        """Why a queued task waits; empty when its turn is next, or nothing is known yet."""
        group = self._planner.group_of(task_id)
        if group is None:
            return ""
        self._renew([group])
        known = self._known.get(group.key)
        return known.reason if known is not None else ""

    def all(self) -> list[Waiting]:
        """What due tasks wait for, by group, those that wait for nothing left out; at most SHAPES_LIMIT."""
        groups = list(islice(self._planner.due_groups(), SHAPES_LIMIT))
        if not groups:
            return []
        self._renew(sorted(groups, key=self._age))
        found = [known for group in groups if (known := self._known.get(group.key)) is not None and known.reason]
        return [Waiting(shape=known.shape, reason=known.reason) for known in found]

    def _age(self, group: Group) -> int:
        known = self._known.get(group.key)
        return known.at_us if known is not None else 0

    def _renew(self, groups: Iterable[Group]) -> None:
        now_us = self._clock.boot_us()
        survey = self._survey
        if survey is None or now_us - self._surveyed_us >= _FRESH_US:
            survey = self._survey = self._planner.survey(self._replica.state)
            self._surveyed_us, self._looks = now_us, 0
            live = {group.key for group in self._planner.all_groups()}
            self._known = {key: known for key, known in self._known.items() if key in live}
        for group in groups:
            known = self._known.get(group.key)
            if known is not None and known.at_us >= self._surveyed_us:
                continue
            if self._looks >= _LOOKS:
                return
            self._looks += max(1, survey.nodes)
            shape = known.shape if known is not None else shape_of(group.key)
            self._known[group.key] = _Known(survey.reason(group), self._surveyed_us, shape)
