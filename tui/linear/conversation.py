"""The console as a conversation: lines in, lines out. For screen readers, and terminals that can do no more."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from tui.columns.base import Column, Draw, TableSpec
from tui.columns.causes import CAUSES
from tui.columns.events import EVENTS
from tui.columns.nodes import NODES
from tui.columns.operations import OPERATIONS
from tui.columns.tasks import LETTERS, QUEUE
from tui.columns.workflows import WORKFLOWS
from tui.commands import Actions
from tui.console.causes import CausesFeed
from tui.console.history import load_history
from tui.drawing.draw import ASCII
from tui.drawing.text import clean
from tui.keyboard.wording import filled, spoken
from tui.linear.acts import ACTIONS
from tui.linear.reasons import why_lines
from tui.linear.stage import LineStage
from tui.lists.grammar import FilterError
from tui.lists.rows import Listing, Rows
from tui.replay.pressed import LINE, Pressed
from tui.replay.recording import ReplayedSource
from tui.source import LinkState, Source, SourceError
from tui.store.letters import DEAD
from tui.store.view import ClusterView

PAGE = 20
NEWS_S = 1.0
_DRAWN = frozenset({*ASCII.bar_full, *ASCII.bar_half, *ASCII.bar_rest, *ASCII.sparks})
RECONNECT_S = 1.0
_MARKED = frozenset({"state", "event", "node"})
"""Columns with a mark before their word."""
_HELP = (
    "nodes, queue, workflows, letters, causes, operations, events: list them; a filter may follow the word.",
    "more: the next lines. open 3: everything about line 3. why 3: what each node says to that task.",
    "What follows says what would be done first, and does it only when that is confirmed in words:",
    "cancel 3 5, retry 3, priority 3, annotate 3, discard 3: of lines of the queue or of letters.",
    "retry 1, canary 1, discard 1: of causes, all their letters. cancel 1, resume 1: of workflows.",
    "cordon 1, uncordon 1, remove 1, drain 1: of nodes. A drain is rehearsed; options go behind the lines:",
    "deadline=30m or deadline=none, parallel=2, hold, force, keep-cordoned, message=text without blanks.",
    "undo: take back what was asked last, while it has not begun. undo 1, stop 1: of operations.",
    "submit COMMAND, or with options: submit name=hello on=anvil -- COMMAND.",
    "status: link and leader. quit: leave; the cluster goes on.",
)
_COLUMNS = {
    "nodes": ("node", "state", "role", "score", "cpu", "mem", "run"),
    "queue": ("state", "name", "node", "age", "why"),
    "letters": ("name", "node", "age", "why"),
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
        self._causes = CausesFeed()
        self._stage = LineStage(source, self.view, self._draw, self._say, read_only=read_only)
        self._actions = Actions(self._stage)

    async def run(self) -> None:
        """Converse until `quit`, or the end of the lines."""
        self._say(f"Cluster {self._source.name}. Type help for the words.")
        if isinstance(self._source, ReplayedSource):
            self._source.player.on_pressed = self._tell_pressed
        following = asyncio.create_task(self._follow())
        news = asyncio.create_task(self._tell_news())
        try:
            async for line in self._lines:
                word, _, text = line.strip().partition(" ")
                if word.lower() in ("quit", "q", "exit"):
                    return
                if self._stage.waits:
                    await self._stage.answer(line)
                elif word:
                    await self._obey(word.lower(), text)
        finally:
            self._stage.close()
            for task in (following, news):
                task.cancel()
            await asyncio.gather(following, news, return_exceptions=True)

    def _say(self, text: str) -> None:
        self._say_raw(clean(text, ascii_only=True))

    def _draw(self) -> Draw:
        now_s = self._clock()
        return Draw(self.view.now_us(now_s), now_s, ASCII, self.view, spoken)

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
        for text in self._stage.news():
            self._say(text)

    def _tell_pressed(self, one: Pressed) -> None:
        """What the recording's operator typed; of lines in a full console only the keys that are no letters."""
        if one.place == LINE:
            self._say(f"> {one.key}")
        elif not one.text:
            self._say(f"> {one.key} in {one.place}" + (f", {one.count} times" if one.count > 1 else ""))

    # Words.

    async def _obey(self, word: str, text: str) -> None:
        rest = text.split()
        if word in _VIEWS:
            if word == "causes" and not await self._read_causes():
                return
            self._list(word, text.strip())
        elif word == "more":
            self._page()
        elif word == "open":
            self._open(rest)
        elif word == "why":
            await self._why(rest)
        elif word == "status":
            self._told = {}
            self.tell_news()
        elif word in ACTIONS or word == "submit":
            await self._act(word, text)
        else:
            for line in _HELP if word == "help" else (f"There is no word {word}. Type help for those there are.",):
                self._say(line)

    async def _read_causes(self) -> bool:
        await self._causes.ask(self._source, self.view, self._clock)
        if self.view.letters.index < 0:
            self._say("The causes could not be read: nobody answers. Try again.")
        return self.view.letters.index >= 0

    def _list(self, place: str, expression: str) -> None:
        spec, rows = self._of(place)
        column = spec.column(spec.sort)
        assert column.sort is not None  # what a table is sorted by first can be sorted by
        listing = Listing(
            rows, column.sort, descending=column.descending, only=is_letter if place == "letters" else None
        )
        try:
            listing.filter_by(spec.parse(expression, rows, lambda: self._draw().now_us))
        except FilterError as error:
            self._say(f"That filter does not work: {error}.")
        else:
            self._place, self._shown = place, 0
            self._listed = list(listing.keys())
            self._say(f"{len(self._listed)} lines." if self._listed else filled(spec.empty, spoken))
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
            said = [] if row is None else [_said(column, row, draw, 200) for column in columns]
            if self._place == "nodes" and row is not None and row.leader:
                said.append("leads")
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
                if row is not None and not column.picture and (text := _said(column, row, draw, 1000)):
                    self._say(f"{(column.titled(draw).strip() or column.id).lower()}: {text}")

    async def _why(self, rest: list[str]) -> None:
        if self._place not in ("queue", "letters"):
            self._say("why is for lines of queue or letters. List them first.")
            return
        for key in self._keys(rest):
            try:
                why = await self._source.why(key)
            except SourceError as error:
                self._say(f"{error.message} {error.remedy}".strip())
                return
            for line in why_lines(why):
                self._say(line)

    def _keys(self, numbers: Sequence[str]) -> list[str]:
        """Of the lines with these numbers; none when one of them is wrong."""
        wrong = [one for one in numbers if not one.isdecimal() or not 0 < int(one) <= len(self._listed)]
        if wrong or not numbers:
            self._say(f"There is no line {wrong[0]}." if wrong else "Say which lines, as: open 3.")
            return []
        return [self._listed[int(one) - 1] for one in numbers]

    async def _act(self, word: str, text: str) -> None:
        if self._read_only:
            self._say("Read-only: nothing can be changed.")
            return
        stage, rest = self._stage, text.split()
        try:
            if word == "submit":
                stage.fill_in(text)
                self._actions.submit()
            elif word == "undo" and not rest:
                self._actions.undo(stage.undoable())
            else:
                self._act_on_lines(word, rest)
        except ValueError as error:
            self._say(f"{error}.")
            return
        await stage.settle()

    def _act_on_lines(self, word: str, rest: list[str]) -> None:
        """Raises ValueError for options that make no sense."""
        places = ACTIONS[word]
        if self._place not in places:
            self._say(f"{word} is for lines of {' or '.join(places)}. List them first.")
            return
        if word == "drain":
            rest = self._stage.choose_options(rest)
        if ids := self._keys(rest):
            places[self._place](self._actions, ids)

    def _of(self, place: str) -> tuple[TableSpec[Any], Rows[Any]]:
        spec, rows = _VIEWS[place]
        return spec, rows(self.view)


def is_letter(row: Any) -> bool:
    """Whether a task is a dead letter."""
    return bool(row.state == DEAD)


def _said(column: Column[Any], row: Any, draw: Draw, width: int) -> str:
    """What a cell says, without its drawings and the mark before its word, which may be a letter."""
    parts = [text for text, _ in column.draw(row, draw, width) if not (len(text) > 2 and set(text) <= _DRAWN)]
    mark = r"^\S\s+" if column.id in _MARKED else r"^[^\w\s]\s+"
    return re.sub(mark, "", "".join(parts).strip())


_VIEWS: dict[str, tuple[TableSpec[Any], Callable[[ClusterView], Rows[Any]]]] = {
    "nodes": (NODES, lambda view: view.nodes),
    "queue": (QUEUE, lambda view: view.tasks),
    "workflows": (WORKFLOWS, lambda view: view.workflows),
    "letters": (LETTERS, lambda view: view.tasks),
    "causes": (CAUSES, lambda view: view.letters.causes),
    "operations": (OPERATIONS, lambda view: view.operations),
    "events": (EVENTS, lambda view: view.events),
}
