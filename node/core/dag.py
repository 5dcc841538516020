"""Dag: who waits for whom in one workflow, and for how many members each still waits.

Derived from the members' rows. What an end costs is the number of its dependants, however many members there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from cortex.v1.cluster_pb2 import WorkflowTaskRequest
from cortex.v1.log_pb2 import WorkflowTaskDef
from cortex.v1.types_pb2 import Task
from node.core.model import ENDED


class Dag:
    """Members by number. Those that run `finally` wait for all that do not, beside their own dependencies."""

    __slots__ = ("_ended", "_open_plain", "_unmet", "children", "conditional", "finals")

    def __init__(self, parents: Sequence[Sequence[int]], finals: Iterable[int], conditional: Iterable[int]) -> None:
        children: list[list[int]] = [[] for _ in parents]
        for member, depends_on in enumerate(parents):
            for parent in depends_on:
                children[parent].append(member)
        self.children = tuple(map(tuple, children))
        self.finals = frozenset(finals)
        self.conditional = tuple(conditional)
        self._unmet = [len(depends_on) for depends_on in parents]
        self._ended = bytearray(len(parents))
        self._open_plain = len(parents) - len(self.finals)

    @classmethod
    def of(cls, count: int, member: Callable[[int], Task | None]) -> Dag:
        """That of a workflow of `count` members, as they stand; one without a row counts as ended."""
        tasks = [member(number) for number in range(count)]
        dag = cls(
            parents=[task.depends_on if task is not None else () for task in tasks],
            finals=[number for number, task in enumerate(tasks) if task is not None and is_final(task)],
            conditional=[number for number, task in enumerate(tasks) if task is not None and task.condition],
        )
        for number, task in enumerate(tasks):
            if task is None or task.state in ENDED:
                dag.step(number, True)
        return dag

    def copy(self) -> Dag:
        """One that steps on its own."""
        new = Dag.__new__(Dag)
        new.children, new.finals, new.conditional = self.children, self.finals, self.conditional
        new._unmet = self._unmet.copy()
        new._ended = self._ended.copy()
        new._open_plain = self._open_plain
        return new

    def step(self, member: int, ended: bool) -> list[int]:
        """A member has ended, or lives again: which others wait for nothing any more by that. Repeated, none."""
        if self._ended[member] == ended:
            return []
        self._ended[member] = ended
        change = -1 if ended else 1
        for child in self.children[member]:
            self._unmet[child] += change
        ready = set(self.children[member])
        if member not in self.finals:
            self._open_plain += change
            ready |= self.finals if self._open_plain == 0 else frozenset()
        return sorted(filter(self.is_ready, ready)) if ended else []

    def is_ready(self, member: int) -> bool:
        """Whether all that it waits for have ended."""
        return self._unmet[member] == 0 and (self._open_plain == 0 or member not in self.finals)

    def descendants(self, members: Iterable[int], seen: set[int] | None = None) -> list[int]:
        """All that come after any of `members`, in order, without those in `seen`, which they are added to."""
        seen = set() if seen is None else seen
        found: list[int] = []
        waiting = list(members)
        while waiting:
            member = waiting.pop()
            after: Iterable[int] = self.children[member]
            if member not in self.finals and self.finals and not self.finals <= seen:
                after = {*after, *self.finals}
            for child in after:
                if child not in seen:
                    seen.add(child)
                    found.append(child)
                    waiting.append(child)
        return sorted(found)


def is_final(row: Task | WorkflowTaskDef | WorkflowTaskRequest) -> bool:
    """Its field `finally`, which Python has no way to write."""
    return bool(getattr(row, "finally"))


def find_cycle(parents: Sequence[Sequence[int]]) -> list[int]:
    """Members of one cycle, each of which depends on the one before it; empty when there is none."""
    left = [len(depends_on) for depends_on in parents]
    children: list[list[int]] = [[] for _ in parents]
    for member, depends_on in enumerate(parents):
        for parent in depends_on:
            children[parent].append(member)
    free = [member for member, count in enumerate(left) if not count]
    for member in free:
        for child in children[member]:
            left[child] -= 1
            if not left[child]:
                free.append(child)
    if len(free) == len(parents):
        return []
    # Every member that is left depends on one that is left: following those must come back.
    member = next(number for number, count in enumerate(left) if count)
    place: dict[int, int] = {}
    path: list[int] = []
    while member not in place:
        place[member] = len(path)
        path.append(member)
        member = next(parent for parent in parents[member] if left[parent])
    return path[place[member] :][::-1]
