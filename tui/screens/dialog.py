"""What every dialog has: a frame over the screen below."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Generic, TypeVar, cast

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widget import Widget

from tui.columns.base import Draw
from tui.keyboard.keymap import Rebound
from tui.operator.themes import Palette
from tui.shell import Shell
from tui.widgets.lines import Lines

T = TypeVar("T")


class Dialog(Rebound, ModalScreen[T], Generic[T]):
    """Subclasses give the content of the frame."""

    painted_s = math.inf
    """Monotonic second at which it was first sent to the terminal."""
    ALLOW_SELECT = False
    AUTO_FOCUS = None

    @property
    def console(self) -> Shell:
        return cast(Shell, self.app)

    def drawing(self) -> Draw:
        return self.console.drawing()

    def palette(self) -> Palette:
        return self.console.palette

    def lines(self, name: str) -> Lines:
        return Lines(self.palette, id=name, ellipsis=self.console.glyphs.ellipsis)

    def compose(self) -> ComposeResult:
        self.set_class(self.console.glyphs.ascii_only, "ascii")
        yield Vertical(*self.content(), id="dialog")

    def content(self) -> Iterable[Widget]:
        raise NotImplementedError
