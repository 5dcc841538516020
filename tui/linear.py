"""The console as a conversation: lines in, lines out. For screen readers, and terminals that can do no more."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from tui.columns.base import Draw, TableSpec
from tui.columns.events import EVENTS
from tui.columns.nodes import NODES
from tui.columns.operations import OPERATIONS
from tui.columns.tasks import LETTERS, QUEUE
from tui.columns.workflows import WORKFLOWS
from tui.draw import ASCII, Cell
from tui.grammar import FilterError
from tui.history import load_history
from tui.letters import DEAD
from tui.plans import nodes as node_plans
from tui.plans import tasks as task_plans
from tui.plans.base import Plan
from tui.rows import Listing, Rows
from tui.source import LinkState, Source, SourceError
from tui.text import clean
from tui.view import ClusterView

PAGE = 20
NEWS_S = 1.0
_DRAWN = frozenset({*ASCII.bar_full, *ASCII.bar_half, *ASCII.bar_rest, *ASCII.sparks})
RECONNECT_S = 1.0
_HELP = (
    "nodes, queue, workflows, letters, operations, events: list them, with a filter behind the word if you like.",
    "more: the next lines. open 3: everything about line 3.",
    "cancel 3 5, retry 3, cordon 1, uncordon 1: say what would be done, and ask before it is done.",
    "status: link and leader. quit: leave; the cluster goes on.",
)
_COLUMNS = {
    "nodes": ("node", "state", "role", "score", "cpu", "mem", "run"),
    "queue": ("state", "name", "node", "age"),
    "letters": ("name", "node", "age"),
}


class Linear:
    """One conversation over a source. `say` gets plain lines; `lines` are what is typed."""

    def __init__(
        self,
        source: Source,
        say: Callable[[str], None],
        lines: AsyncIterator[str],
        clock: Callable[[], float],
        *,
        read_only: bool = False,
    ) -> None:
        self._source, self._say_raw, self._lines, self._clock = source, say, lines, clock
        self._read_only = read_only
        self.view = ClusterView()
        self._listed: list[str] = []
        self._shown = 0
        self._place = "nodes"
        self._told: dict[str, str] = {}

    async def run(self) -> None:
        """Converse until `quit`, or the end of the lines."""
        self._say(f"Cluster {self._source.name}. Type help for the words.")
        following = asyncio.create_task(self._follow())
        news = asyncio.create_task(self._tell_news())
        try:
            async for line in self._lines:
                words = line.split()
                if words and words[0].lower() in ("quit", "q", "exit"):
                    return
                if words:
                    await self._obey(words[0].lower(), words[1:])
        finally:
            for task in (following, news):
                task.cancel()
            await asyncio.gather(following, news, return_exceptions=True)

    def _say(self, text: str) -> None:
        self._say_raw(clean(text, ascii_only=True))

    def _draw(self) -> Draw:
        now_s = self._clock()
        return Draw(self.view.now_us(now_s), now_s, ASCII, self.view)

    # The stream, and what of it is told unasked.

    async def _follow(self) -> None:
        while True:
            try:
                async for item in self._source.watch():
                    if isinstance(item, LinkState):
                        self.view.fold_link(item)
                    else:
                        self.view.fold(item, self._clock())
                        if item.snapshot_end:
                            await load_history(self._source, self.view, self._clock)
            except SourceError as error:
                self.view.fold_link(LinkState(False, detail=error.message, remedy=error.remedy))
            await asyncio.sleep(RECONNECT_S)

    async def _tell_news(self) -> None:
        while True:
            self.tell_news()
            await asyncio.sleep(NEWS_S)

    def tell_news(self) -> None:
        """Says what changed of link, leader, nodes and dead letters since it was said last."""
        view = self.view
        if not view.link.ever:
            return
        lost = view.link.lost(self._clock())
        now = {
            "link": f"The link is lost. {view.link.detail}".strip() if lost else "The link is there.",
            "leader": f"{view.leader} leads." if view.leader else "Nobody leads: nothing can be changed.",
            "letters": f"{sum(1 for row in view.tasks.values() if is_letter(row))} dead letters.",
        }
        for row in view.nodes.values():
            now[f"node {row.node.id}"] = f"Node {row.node.id} is {'online' if row.node.online else 'offline'}."
        for name, text in now.items():
            if self._told.get(name) != text and (self._told or name in ("link", "leader")):
                self._say(text)
        self._told = now

    # Words.

    async def _obey(self, word: str, rest: list[str]) -> None:
        if word in _VIEWS:
            self._list(word, " ".join(rest))
        elif word == "more":
            self._page()
        elif word == "open":
            self._open(rest)
        elif word == "status":
            self._told = {}
            self.tell_news()
        elif word in _ACTIONS:
            await self._act(word, rest)
        else:
            for line in _HELP if word == "help" else (f"There is no word {word}. Type help for those there are.",):
                self._say(line)

    def _list(self, place: str, expression: str) -> None:
        spec, rows = self._of(place)
        column = spec.column(spec.sort)
        assert column.sort is not None  # what a table is sorted by first can be sorted by
        listing = Listing(
            rows, column.sort, descending=column.descending, only=is_letter if place == "letters" else None
        )
        try:
            listing.filter_by(spec.parse(expression, rows))
        except FilterError as error:
            self._say(f"That filter does not work: {error}.")
        else:
            self._place, self._shown = place, 0
            self._listed = list(listing.keys())
            self._say(f"{len(self._listed)} lines." if self._listed else spec.empty)
            self._page()
        finally:
            listing.close()

    def _page(self) -> None:
        spec, rows = self._of(self._place)
        names = _COLUMNS.get(self._place)
        columns = [
            column
            for column in spec.columns
            if not column.picture and (column.id in names if names else not column.rank)
        ]
        draw = self._draw()
        for number, key in enumerate(self._listed[self._shown : self._shown + PAGE], self._shown + 1):
            row = rows.get(key)
            said = [] if row is None else [_words(column.draw(row, draw, 200)) for column in columns]
            self._say(f"{number}: " + (", ".join(part for part in said if part) if row is not None else "gone"))
        self._shown = min(len(self._listed), self._shown + PAGE)
        if left := len(self._listed) - self._shown:
            self._say(f"{left} more: type more.")

    def _open(self, rest: list[str]) -> None:
        spec, rows = self._of(self._place)
        for key in self._keys(rest):
            row, draw = rows.get(key), self._draw()
            self._say(f"id: {key}")
            for column in spec.columns:
                if row is not None and not column.picture and (text := _words(column.draw(row, draw, 1000))):
                    self._say(f"{(column.title.strip() or column.id).lower()}: {text}")

    def _keys(self, numbers: Sequence[str]) -> list[str]:
        """Of the lines with these numbers; none when one of them is wrong."""
        wrong = [one for one in numbers if not one.isdecimal() or not 0 < int(one) <= len(self._listed)]
        if wrong or not numbers:
            self._say(f"There is no line {wrong[0]}." if wrong else "Say which lines, as: open 3.")
            return []
        return [self._listed[int(one) - 1] for one in numbers]

    async def _act(self, word: str, rest: list[str]) -> None:
        if self._read_only:
            self._say("Read-only: nothing can be changed.")
            return
        wanted, make = _ACTIONS[word]
        if self._place not in wanted:
            self._say(f"{word} is for lines of {' or '.join(wanted)}. List them first.")
            return
        ids = self._keys(rest)
        if not ids:
            return
        plan = make(self._draw(), ids)
        self._say_plan(plan)
        if not plan.objects:
            return
        phrase = f"{word} {plan.radius}"
        self._say(f"To do it, type: {phrase}. Anything else does nothing.")
        if (await anext(self._lines, "")).strip().lower() != phrase:
            self._say("Nothing was done.")
            return
        now = make(self._draw(), ids)
        if not now.objects or not plan.still_covers(now):
            self._say("It has changed meanwhile, and nothing was done. Ask again.")
            return
        try:
            done = await now.call(self._source.mutator())
        except SourceError as error:
            self._say(f"{error.message} {error.remedy}".strip())
        else:
            self._say(done.said)

    def _say_plan(self, plan: Plan) -> None:
        self._say(plan.title if plan.objects else f"There is nothing to {plan.verb}.")
        for head, cells in (("", plan.objects), ("Left out: ", plan.left_out), ("", plan.consequences)):
            for cell in cells:
                self._say(head + _text(cell))

    def _of(self, place: str) -> tuple[TableSpec[Any], Rows[Any]]:
        spec, rows = _VIEWS[place]
        return spec, rows(self.view)


def is_letter(row: Any) -> bool:
    """Whether a task is a dead letter."""
    return bool(row.state == DEAD)


def _words(cell: Cell) -> str:
    """What a cell says, without its drawings and the mark before its word."""
    parts = [text for text, _ in cell if not (len(text) > 2 and set(text) <= _DRAWN)]
    return re.sub(r"^[^\w\s]\s+", "", "".join(parts).strip())


def _text(cell: Cell) -> str:
    return " ".join("".join(text for text, _ in cell).split())


_VIEWS: dict[str, tuple[TableSpec[Any], Callable[[ClusterView], Rows[Any]]]] = {
    "nodes": (NODES, lambda view: view.nodes),
    "queue": (QUEUE, lambda view: view.tasks),
    "workflows": (WORKFLOWS, lambda view: view.workflows),
    "letters": (LETTERS, lambda view: view.tasks),
    "operations": (OPERATIONS, lambda view: view.operations),
    "events": (EVENTS, lambda view: view.events),
}
_ACTIONS: dict[str, tuple[tuple[str, ...], Callable[[Draw, Sequence[str]], Plan]]] = {
    "cancel": (("queue",), task_plans.cancel),
    "retry": (("queue", "letters"), task_plans.retry),
    "cordon": (("nodes",), node_plans.cordon),
    "uncordon": (("nodes",), node_plans.uncordon),
}
