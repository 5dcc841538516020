"""What an operator can change, each as a plan that is shown before it is done."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tui.app import Console


class Actions:
    def __init__(self, console: Console) -> None:
        self._console = console

    def cancel(self, ids: Sequence[str]) -> None: ...

    def retry(self, ids: Sequence[str]) -> None: ...

    def cordon(self, nodes: Sequence[str]) -> None: ...

    def uncordon(self, nodes: Sequence[str]) -> None: ...
