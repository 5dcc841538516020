"""What every dialog has: a frame over the screen below."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Generic, TypeVar, cast

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widget import Widget

from tui.columns.base import Draw
from tui.themes import Palette
from tui.widgets.lines import Lines

if TYPE_CHECKING:
    from tui.app import Console

T = TypeVar("T")


class Dialog(ModalScreen[T], Generic[T]):
    """Subclasses give the content of the frame."""

    ALLOW_SELECT = False
    AUTO_FOCUS = None

    @property
    def console(self) -> Console:
        return cast("Console", self.app)

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
