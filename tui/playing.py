"""The part of the console that plays a recording."""

from __future__ import annotations

from collections.abc import Sequence

from tui.draw import EMPTY, Cell
from tui.keys import Key
from tui.player import Player, forget
from tui.recording import ReplayedSource
from tui.source import Source
from tui.view import ClusterView
from tui.wording import key_of


class Playing:
    """Mixed into the console: its keys tell the player, where there is one."""

    source: Source
    key_table: Sequence[Key]
    view: ClusterView

    @property
    def player(self) -> Player | None:
        return self.source.player if isinstance(self.source, ReplayedSource) else None

    def use_player(self) -> None:
        """What was shown is forgotten when the recording goes back."""
        if (player := self.player) is not None:
            player.on_rewind = lambda: forget(self.view)

    def player_hint(self) -> Cell:
        """For the footer: where the recording is, and how fast it goes."""
        player = self.player
        if player is None:
            return EMPTY
        key = key_of("app", "replay_pause", self.key_table)
        return ((f"{key} " if key else "", "key"), (player.said(), "warn" if player.paused else "accent"))

    def action_replay_pause(self) -> None:
        if self.player is not None:
            self.player.pause()

    def action_replay_step(self) -> None:
        if self.player is not None:
            self.player.step()

    def action_replay_speed(self, by: int) -> None:
        if self.player is not None:
            self.player.change_speed(by)

    def action_replay_jump(self, by_s: int) -> None:
        if self.player is not None:
            self.player.jump(by_s)
