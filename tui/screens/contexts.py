"""The clusters to choose from, with how each of them is; asked while the list is open."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

from textual import work

from tui.keyboard.options import Option
from tui.screens.choose import ChooseScreen

Probes = Mapping[str, Callable[[], Coroutine[Any, Any, str]]]


class ContextsScreen(ChooseScreen):
    """Returns the name of the chosen cluster, or None."""

    def __init__(
        self, options: Callable[[Mapping[str, str]], Sequence[Option]], probes: Callable[[], Probes]
    ) -> None:
        self._said: dict[str, str] = {}
        self._make = options
        self._probes = probes()
        super().__init__("Which cluster", options(self._said))

    def on_mount(self) -> None:
        for name, probe in self._probes.items():
            self._ask(name, probe)

    @work(group="probes")
    async def _ask(self, name: str, probe: Callable[[], Coroutine[Any, Any, str]]) -> None:
        self._said[name] = "asking"
        self.offer(self._make(self._said))
        self._said[name] = await probe()
        self.offer(self._make(self._said))
