"""What an action would do, as a plan that can be shown, judged again and carried out. Pure.

A plan names exact objects. When it is confirmed it is made anew from what is known by then: it goes ahead if the
new one harms nothing that the shown one did not, else it is shown again.
"""

from __future__ import annotations

import shlex
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from cortex.v1 import cluster_pb2, types_pb2
from tui.columns.base import Draw
from tui.columns.tasks import run_us
from tui.drawing.draw import Cell, Span, age, count_of, foreign, task_state
from tui.drawing.text import clean, fit
from tui.source import Mutator, SourceError
from tui.store.view import ENDED

TYPED_COUNT_ABOVE = 10
"""More objects than this are confirmed by typing their number."""
MAX_SHOWN_IDS = 2
MAX_IDS = 1000
"""That one operation names."""
MAX_CHOSEN = 20 * MAX_IDS
"""That one plan is made of: it lists each of them."""

Task = types_pb2.Task


@dataclass(frozen=True)
class Done:
    """What a carried out plan did."""

    said: str
    """One sentence for the operator."""
    operation: str = ""
    """Id of an operation that `u` can undo until it begins; empty when there is nothing to undo."""
    audit: tuple[str, ...] = ()
    """Ids of what was asked, as the audit shows them."""


Call = Callable[[Mutator], Awaitable[Done]]


@dataclass(frozen=True)
class Plan:
    """One action on exact objects."""

    verb: str
    title: str
    objects: tuple[Cell, ...]
    """One line each."""
    consequences: tuple[Cell, ...]
    left_out: tuple[Cell, ...]
    """Chosen objects that it will not touch, and why."""
    command: str
    """The same on the command line."""
    harm: frozenset[str]
    """What is lost or interrupted; a later plan must not exceed it."""
    ids: tuple[str, ...]
    call: Call
    """Does it. Raises SourceError."""
    count: int = 0
    """How many things change at once, where that is not how many lines `objects` has."""
    destroys: bool = False
    """Whether work or a record is lost; it is drawn as a warning."""
    with_reason: Callable[[str], Plan] | None = None
    """The same plan with a reason of the operator's, where it takes one that need not be given."""
    live: bool = False
    """Whether what it says changes by the second; then it is made anew while it is shown."""

    @property
    def typed_count(self) -> int:
        """The number that must be typed to confirm; 0 when one key is enough."""
        return self.radius if self.radius > TYPED_COUNT_ABOVE else 0

    @property
    def radius(self) -> int:
        """How many things change at once."""
        return self.count or len(self.objects)

    def still_covers(self, now: Plan) -> bool:
        """Whether carrying out `now` does nothing beyond what this one showed."""
        return set(now.ids) <= set(self.ids) and now.harm <= self.harm and now.radius <= self.radius


async def in_parts(
    ids: Sequence[str], ask: Callable[[Sequence[str]], Awaitable[cluster_pb2.MutationReply]]
) -> list[cluster_pb2.MutationReply]:
    """Asks for all, in as many operations as it takes. Raises SourceError, which says how far it came."""
    replies: list[cluster_pb2.MutationReply] = []
    for begin in range(0, len(ids), MAX_IDS):
        try:
            replies.append(await ask(ids[begin : begin + MAX_IDS]))
        except SourceError as error:
            if not replies:
                raise
            said = f"{count_of(begin)} of {count_of(len(ids))} tasks were asked for, then no more: {error.message}"
            raise SourceError(said, f"{error.remedy} Then ask for the rest again.".strip()) from None
    return replies


def parts_said(count: int, undo: str = "") -> list[Cell]:
    """A line when it takes several operations; `undo` is what takes back one of them."""
    parts = -(-count // MAX_IDS)
    back = f" {undo} takes them back one by one, the last first." if undo else ""
    said = f"In {parts} operations of at most {count_of(MAX_IDS)} tasks, one after the other.{back}"
    return [line("dim", said)] if parts > 1 else []


def tasks_of(count: int) -> str:
    """`1 task`, `12 tasks`."""
    return "1 task" if count == 1 else f"{count_of(count)} tasks"


def nodes_of(count: int) -> str:
    """`1 node`, `12 nodes`."""
    return "1 node" if count == 1 else f"{count_of(count)} nodes"


def line(role: str, *parts: str) -> Cell:
    """Parts of one role."""
    return tuple((part, role) for part in parts)


def command_line(verb: str, ids: Sequence[str]) -> str:
    """The same for a shell."""
    return " ".join(["cortex", verb, *(shlex.quote(clean(part)) for part in ids)])


def command_lines(verb: str, ids: Sequence[str]) -> str:
    """The same for a shell, of a verb that takes one object."""
    return " && ".join(command_line(verb, [part]) for part in ids)


def short_command(command: str, ids: Sequence[str]) -> str:
    """The command as it is shown, with the first ids of many."""
    if len(ids) <= MAX_SHOWN_IDS + 1:
        return command
    words = [shlex.quote(clean(part)) for part in ids]
    rest = f"and {len(ids) - MAX_SHOWN_IDS} more"
    return command.replace(" ".join(words), f"{' '.join(words[:MAX_SHOWN_IDS])} {rest}")


def task_line(task: Task, draw: Draw) -> Cell:
    """A task as an object of a plan."""
    glyphs = draw.glyphs
    state = task_state(task, glyphs)
    spans: list[Span] = [(fit(text, 14), role) for text, role in state]
    spans += [*foreign(task.name or "task", "strong", glyphs), ("  ", "text")]
    spans += [*foreign(task.id, "dim", glyphs)]
    if task.node and task.state not in ENDED:
        spans += [("  on ", "dim"), *foreign(task.node, "text", glyphs)]
    ran = run_us(task, draw.now_us)
    if ran is not None and task.state == types_pb2.TASK_STATE_RUNNING:
        spans += [("  for ", "dim"), (age(ran), "text")]
    return tuple(spans)


def missing(key: str, draw: Draw) -> Cell:
    """A chosen object that is gone."""
    return (*foreign(key, "dim", draw.glyphs), ("  is no longer known", "dim"))


def split(draw: Draw, ids: Sequence[str], refusal: Callable[[Task], str]) -> tuple[list[Task], list[Cell]]:
    """Tasks that the action concerns, and a line for each that it does not."""
    taken: list[Task] = []
    left: list[Cell] = []
    for key in ids:
        task = draw.view.tasks.get(key)
        if task is None:
            left.append(missing(key, draw))
        elif why := refusal(task):
            left.append((*task_line(task, draw), (f"  {why}", "warn")))
        else:
            taken.append(task)
    return taken, left
