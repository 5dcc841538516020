"""Who is to blame for a failure: its node, its input or the command itself, as far as what else ran tells.

The leader keeps a bounded window of how commands ended where; a new one begins with nothing, and blames nobody.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import NamedTuple

from cortex.v1 import types_pb2
from cortex.v1.types_pb2 import Blame, Task, TaskSpec
from node.core.deadletter import command_template

KEPT_US = 15 * 60 * 1_000_000
_TEMPLATES = 500
_NODES = 50
_GOOD_COMMANDS = 3
_SUCCESSES_WAITING = 256
# Good ends in a row after which a node is not suspected any more.
_TRUSTED = 5


class _Last(NamedTuple):
    """How a command template last ended on one node."""

    at_us: int
    good: bool


@dataclass(slots=True)
class _Template:
    """What commands of one template did; what was not seen for longest leaves first."""

    nodes: OrderedDict[str, _Last] = field(default_factory=OrderedDict)
    good: OrderedDict[bytes, int] = field(default_factory=OrderedDict)  # commands, and when they last succeeded


class Ends:
    """How commands ended lately. Times are leader time."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[str, TaskSpec, int]] = deque(maxlen=_SUCCESSES_WAITING)
        self._templates: OrderedDict[str, _Template] = OrderedDict()
        self._in_row: dict[str, int] = {}

    def succeeded(self, node: str, spec: TaskSpec, now_us: int) -> None:
        """Cheap: most ends are successes, and nobody asks about them unless something fails."""
        self._waiting.append((node, spec, now_us))
        if node in self._in_row:
            self._in_row[node] += 1

    def failed(self, task: Task, command: bytes, now_us: int) -> Blame.ValueType:
        """Note that an attempt of `task` failed on its node, and say who is to blame."""
        self._settle()
        template = command_template(command.decode("utf-8", "replace"))
        seen = self._note(template, task.node, _Last(now_us, False))
        earlier = {failure.node for failure in task.failures if failure.node != task.node}
        if not earlier and self._is_nodes(template, task.node, now_us):
            self._in_row[task.node] = 0
            return types_pb2.BLAME_NODE
        if any(good != command and now_us <= at_us + KEPT_US for good, at_us in seen.good.items()):
            return types_pb2.BLAME_INPUT
        return types_pb2.BLAME_TASK if earlier else types_pb2.BLAME_UNSPECIFIED

    def trusted(self, node: str) -> bool:
        """Whether a node that was to blame has done well since, several times in a row; asked anew it is not."""
        if self._in_row.setdefault(node, 0) < _TRUSTED:
            return False
        del self._in_row[node]
        return True

    def _is_nodes(self, template: str, node: str, now_us: int) -> bool:
        """Whether this and another command failed last on `node`, and succeeded last elsewhere."""
        failing = 0
        for name, seen in self._templates.items():
            last = seen.nodes.get(node)
            if last is None or last.good or now_us > last.at_us + KEPT_US:
                continue
            if any(
                each.good and now_us <= each.at_us + KEPT_US for other, each in seen.nodes.items() if other != node
            ):
                failing += 1
            elif name == template:
                return False
        return failing > 1

    def _settle(self) -> None:
        """Take up the successes since the last failure."""
        templates: dict[bytes, str] = {}
        while self._waiting:
            node, spec, at_us = self._waiting.popleft()
            command = command_of(spec)
            if command not in templates:
                templates[command] = command_template(command.decode("utf-8", "replace"))
            good = self._note(templates[command], node, _Last(at_us, True)).good
            good[command] = at_us
            good.move_to_end(command)
            while len(good) > _GOOD_COMMANDS:
                good.popitem(last=False)

    def _note(self, template: str, node: str, last: _Last) -> _Template:
        seen = self._templates.setdefault(template, _Template())
        self._templates.move_to_end(template)
        seen.nodes[node] = last
        seen.nodes.move_to_end(node)
        while len(seen.nodes) > _NODES:
            seen.nodes.popitem(last=False)
        while len(self._templates) > _TEMPLATES:
            self._templates.popitem(last=False)
        return seen


def command_of(spec: TaskSpec) -> bytes:
    """The command as one line."""
    return spec.shell_command or b" ".join(spec.argv)
