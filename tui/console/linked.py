"""What the console has of its clusters: the stream it follows, which of them it looks at, what waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

from textual import work
from textual.app import App
from textual.widget import AwaitMount

from cortex.v1 import cluster_pb2
from tui.console.causes import CausesFeed
from tui.console.contexts import Context, Held, colour_of
from tui.console.history import load_history
from tui.console.undo import OwnOperations
from tui.drawing.draw import Cell
from tui.errors import ClusterError
from tui.keyboard.options import Option
from tui.keyboard.wording import KeyWord
from tui.operator.keep import Keep
from tui.plans.base import Done, Plan
from tui.plans.intents import Intent, Intents
from tui.screens.base import ConsoleScreen
from tui.screens.contexts import ContextsScreen
from tui.screens.preview import PreviewScreen
from tui.source import LinkState, Source, SourceError
from tui.store.view import ClusterView

RECONNECT_S = 1.0
PROBE_S = 3.0
NOT_ASKED = "not asked yet"


class Linked(App[int], inherit_bindings=False):
    """Over what the console itself has."""

    source: Source
    view: ClusterView
    keep: Keep
    causes: CausesFeed
    own: OwnOperations
    read_only: bool
    building: bool
    taking: bool
    clock: Callable[[], float]
    word: KeyWord
    settle: Callable[[], None]

    def begin_links(self, contexts: Sequence[Context], current: str) -> None:
        self.contexts: Mapping[str, Context] = {one.name: one for one in contexts}
        self.context = current
        self.intents = Intents()
        self._held: dict[str, Held] = {}
        self._previous_view = "nodes"

    # What the console has.

    def say(self, text: str, role: str = "text") -> None:
        raise NotImplementedError

    def start(self, group: str, work: Coroutine[Any, Any, None]) -> None:
        raise NotImplementedError

    def choose(self, title: str, options: Sequence[Option], current: str, then: Callable[[str], None]) -> None:
        raise NotImplementedError

    def link_hint(self) -> Cell:
        raise NotImplementedError

    def wake(self) -> None:
        raise NotImplementedError

    async def keys_first(self) -> None:
        raise NotImplementedError

    @property
    def view_name(self) -> str:
        raise NotImplementedError

    @property
    def moment(self) -> str:
        """Which past moment is shown, in words; empty for now."""
        raise NotImplementedError

    # The stream.

    @work(group="watch", exclusive=True)
    async def follow_cluster(self) -> None:
        """Fold the stream into the store for as long as the console looks at this cluster."""
        source, view = self.source, self.view
        while True:
            try:
                async for item in source.watch():
                    if isinstance(item, LinkState):
                        view.fold_link(item)
                        self.wake()
                        continue
                    news = not item.heartbeat or bool(item.samples) or item.leader != view.leader or self.away
                    await self._take(item, view)
                    if news:
                        self.wake()
                    if not view.ready or item.snapshot_end:
                        self.settle()
                    if item.snapshot_end:
                        self.start("history", load_history(source, view, self.clock))
            except SourceError as error:
                view.fold_link(LinkState(False, detail=error.message, remedy=error.remedy))
                self.wake()
            await asyncio.sleep(RECONNECT_S)

    async def _take(self, item: cluster_pb2.WatchReply, view: ClusterView) -> None:
        """Fold it, and make the lines that its samples change; keys go first."""
        self.taking = bool(item.samples)
        try:
            for _ in view.folding(item, self.clock()):
                await self.keys_first()
            # While it closes it has none.
            screen = self.screen if self.screen_stack else None
            if item.samples and isinstance(screen, ConsoleScreen) and screen.is_mounted:
                for _ in screen.preparing():
                    await self.keys_first()
        finally:
            self.taking = False

    @property
    def away(self) -> bool:
        """Whether nothing can be changed just now: no link, or nobody leads."""
        return self.view.link.lost(self.clock()) or not self.view.leader

    def title_notes(self) -> Cell:
        """For the top line: what waits, and how thin the line is."""
        parts = [part for part in (self.intents.hint(), self.link_hint()) if part]
        return tuple(span for part in parts for span in (*part, ("   ", "text")))

    def name_role(self) -> str:
        return colour_of(self.context) if len(self.contexts) > 1 else "strong"

    # Intents.

    def preview(self, make: Callable[[], Plan], then: Callable[[Done | None], None], why: str = "") -> None:
        """Show what would be done, `why` if nobody asked; what is confirmed while the cluster is away is kept."""

        def kept(plan: Plan) -> None:
            intent = Intent(make, then, plan.title, plan.command, self.clock())
            if self.intents.add(intent):
                self.say("The cluster is away: kept, and asked again once it is back (:intents).", "warn")
            else:
                self.say("Too much waits already. Look at it with :intents first.", "bad")

        self.push_screen(PreviewScreen(make, self.source.mutator, kept, lambda: self.away, why), then)

    def look_at_intents(self) -> None:
        """At a tick: what waited is shown again as soon as the cluster can take it."""
        if not self.intents.waiting or self.away or self.read_only or self.moment:
            return
        if not isinstance(self.screen, ConsoleScreen):
            return
        self._ask_again(0)

    def _ask_again(self, number: int) -> None:
        intent = self.intents.take(number)
        if intent is None:
            return
        age = int(self.clock() - intent.at_s)
        drop = self.word("preview", "give_up")
        why = f"Confirmed {age} s ago, while the cluster was away: again, or {drop} drops it."
        self.preview(intent.make, intent.then, why)

    def action_intents(self) -> None:
        lines = self.intents.lines(self.clock())
        if not lines:
            self.say("Nothing waits.", "dim")
            return
        options = [Option(str(number), title, note=age) for number, (title, age) in enumerate(lines)]
        self.choose(
            "Confirmed while the cluster was away", options, "0", lambda number: self._ask_again(int(number))
        )

    # Clusters.

    def context_names(self) -> Sequence[str]:
        return list(self.contexts)

    def action_ctx(self) -> None:
        if len(self.contexts) < 2:
            self.say("No other cluster is known. The context file names them: see docs/console.md.", "dim")
            return
        self.push_screen(ContextsScreen(self._context_options, self._probes), self._chosen)

    def _chosen(self, name: str | None) -> None:
        if name is not None:
            self.use_context(name)

    def use_context(self, name: str) -> None:
        """Look at another cluster; what was open here stays as it is until one comes back."""
        if name == self.context or name not in self.contexts:
            return
        try:
            target = self._hold(name)
        except ClusterError as error:
            self.say(f"{error.message} {error.remedy}", "bad")
            return
        self.return_to_now()
        now = self._held_now()
        now.place, now.previous_place = self.view_name, self._previous_view
        now.intents = self.intents
        self.context = name
        self.source, self.view, self.keep = target.source, target.view, target.keep
        self.causes, self.own, self.intents = target.causes, target.own, target.intents
        self._previous_view = target.previous_place
        self.fresh_drawing()
        self.follow_cluster()
        self.switch_mode(target.place)

    def fresh_drawing(self) -> Any:
        raise NotImplementedError

    def return_to_now(self) -> None:
        """Leave the past, if that is shown."""

    def switch_mode(self, mode: str) -> AwaitMount:
        """Every cluster has its own screens of the views, so that each stays as it was left."""
        number = self._held[self.context].number if self.context in self._held else 0
        own = f"{mode}@{number}" if number and mode in self.MODES else mode
        if own not in self._modes:
            made: Any = self.MODES[mode]
            self.add_mode(own, made)
        self.building = own not in self._screen_stacks
        return super().switch_mode(own)

    def _held_now(self) -> Held:
        held = self._held.get(self.context)
        if held is None:
            held = Held(0, self.source, self.keep, self.view, self.causes, self.own, self.intents)
            self._held[self.context] = held
        return held

    def _hold(self, name: str) -> Held:
        self._held_now()
        held = self._held.get(name)
        if held is None:
            source, keep = self.contexts[name].open()
            held = self._held[name] = Held(len(self._held), source, keep)
        return held

    def _context_options(self, said: Mapping[str, str]) -> list[Option]:
        return [
            Option(name, name, "here" if name == self.context else "", f"{said.get(name, NOT_ASKED)}  {one.where}")
            for name, one in self.contexts.items()
        ]

    def _probes(self) -> Mapping[str, Callable[[], Coroutine[Any, Any, str]]]:
        """How each cluster is asked how it is."""
        return {name: lambda name=name: self._probe(name) for name in self.contexts}  # type: ignore[misc]

    async def _probe(self, name: str) -> str:
        try:
            source = self.source if name == self.context else self._hold(name).source
            async with asyncio.timeout(PROBE_S):
                reply = await source.list_nodes()
        except (ClusterError, SourceError) as error:
            return error.message
        except TimeoutError:
            return "does not answer"
        leader = next((one.node.id for one in reply.nodes if one.leader), "")
        online = sum(1 for one in reply.nodes if one.node.online)
        return f"{online}/{len(reply.nodes)} nodes, " + (f"led by {leader}" if leader else "no leader")
