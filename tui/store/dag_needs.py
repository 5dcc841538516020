"""What each task of a workflow still waits for, counted end by end. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from cortex.v1 import types_pb2
from tui.store.view import ENDED

Task = types_pb2.Task
RULES: Mapping[int, str] = {number: name.removeprefix("RULE_").lower() for name, number in types_pb2.Rule.items()}
NAMED = 2
"""Tasks that are named; the others are counted."""


class Needs:
    """Of each member how many of those it depends on have not ended. An end costs what depends on it."""

    def __init__(self, tasks: Mapping[int, Task]) -> None:
        self._tasks = tasks
        self._children: dict[int, list[int]] = {}
        self._open: dict[int, int] = {}
        self._ended: set[int] = {number for number, task in tasks.items() if task.state in ENDED}
        self._said: dict[int, tuple[Task, str]] = {}
        for number, task in tasks.items():
            known = [need for need in task.depends_on if need in tasks]
            self._open[number] = sum(need not in self._ended for need in known)
            for need in known:
                self._children.setdefault(need, []).append(number)

    def put(self, number: int) -> None:
        """Take in a changed task."""
        ended = self._tasks[number].state in ENDED
        if ended == (number in self._ended):
            return
        (self._ended.add if ended else self._ended.discard)(number)
        step = -1 if ended else 1
        for child in self._children.get(number, ()):
            self._open[child] += step
            self._said.pop(child, None)

    def words(self, number: int) -> str:
        """As `waits for build, test and 3 more, runs if one_failed`; empty of what is released or has ended."""
        task = self._tasks[number]
        if task.state != types_pb2.TASK_STATE_PENDING:
            return ""
        said = self._said.get(number)
        if said is None or said[0] is not task:
            said = self._said[number] = (task, self._words(task, self._open[number]))
        return said[1]

    def _words(self, task: Task, count: int) -> str:
        if not task.depends_on:
            said = "waits for all others" if getattr(task, "finally") else "waits to be released"
        elif not count:
            said = "waits for the verdict on its condition" if task.condition else "waits to be released"
        else:
            said = f"waits for {_listed(self._names(task), count)}"
        if task.rule not in (types_pb2.RULE_UNSPECIFIED, types_pb2.RULE_ALL_SUCCESS):
            said += f", rule {RULES.get(task.rule, 'unknown')}"
        return f"{said}, if {task.condition}" if task.condition else said

    def _names(self, task: Task) -> Iterable[str]:
        found = 0
        for need in task.depends_on:
            if need in self._tasks and need not in self._ended:
                yield self._tasks[need].task_key
                found += 1
                if found == NAMED:
                    return


def _listed(names: Iterable[str], count: int) -> str:
    shown = list(names)
    more = count - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")
