"""The part of the console that records which keys it is given, and plays a recording."""

from __future__ import annotations

from collections.abc import Sequence

from textual import events
from textual.app import App
from textual.widgets import Input

from tui.drawing.draw import EMPTY, Cell, Glyphs, count_of
from tui.keyboard.keys import Key
from tui.keyboard.wording import key_of, shown
from tui.replay.player import Player, forget
from tui.replay.pressed import Pressed
from tui.replay.recording import RecordedSource, ReplayedSource
from tui.screens.base import ConsoleScreen
from tui.source import Source
from tui.store.view import ClusterView

PRESSED_SHARE = 4
"""What part of the width a replay gives to the keys that were pressed: 1 / PRESSED_SHARE."""


class Playing(App[int], inherit_bindings=False):
    """Over what the console itself has: its keys tell the player, where there is one."""

    source: Source
    key_table: Sequence[Key]
    view: ClusterView
    glyphs: Glyphs

    # Recording.

    async def on_event(self, event: events.Event) -> None:
        if isinstance(event, events.Key | events.Paste) and not event.is_forwarded:
            self._record(event)
        await super().on_event(event)

    def _record(self, event: events.Key | events.Paste) -> None:
        source, focused = self.source, self.focused
        if not isinstance(source, RecordedSource):
            return
        line = isinstance(focused, Input)
        if isinstance(focused, Input) and focused.password:
            return
        if isinstance(event, events.Paste):
            # A clipboard may hold anything: how much, and not what.
            key, text = f"paste of {count_of(len(event.text))} characters", False
        else:
            text = line and event.is_printable and event.character is not None
            key = str(event.character) if text else shown(event.key)
        source.recording.pressed(Pressed(self._pressed_at(), key, getattr(event, "count", 1), text))

    def _pressed_at(self) -> str:
        screen = self.screen
        return (
            screen.place if isinstance(screen, ConsoleScreen) else type(screen).__name__[: -len("Screen")].lower()
        )

    # Replay.

    @property
    def player(self) -> Player | None:
        return self.source.player if isinstance(self.source, ReplayedSource) else None

    def use_player(self) -> None:
        """What was shown is forgotten when the recording goes back."""
        if (player := self.player) is not None:
            player.on_rewind = lambda: forget(self.view)

    def player_hint(self) -> Cell:
        """For the footer: what was pressed, where the recording is, and how fast it goes."""
        player = self.player
        if player is None:
            return EMPTY
        width = self.size.width // PRESSED_SHARE
        pressed = player.last_pressed.cell(player.position_s, player.speed, width, self.glyphs)
        key = key_of("app", "replay_pause", self.key_table)
        return (
            *pressed,
            ("  " if pressed else "", "text"),
            (f"{key} " if key else "", "key"),
            (player.said(), "warn" if player.paused else "accent"),
        )

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
