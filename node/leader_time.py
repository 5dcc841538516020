"""Leader time: the one clock of the log. It never goes back and never stands still.

max(wall clock, time of the last entry + boot time since it was applied). A wall clock that jumps more than 30 s
ahead of that is followed only when a majority of the voters' clocks agrees with it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

import structlog

from node.env import Clock

JUMP_US = 30_000_000


class LeaderTime:
    """Made per daemon; a follower keeps it fed so that it is right at once when it leads."""

    def __init__(self, clock: Clock, voters: Callable[[], Collection[str]]) -> None:
        """`voters` tells who votes now, this daemon included where it does."""
        self._clock = clock
        self._voters = voters
        self._base_us = 0
        self._base_boot_us = clock.boot_us()
        # The last stamp, and the last reading, from which later ones go on.
        self._last_us = 0
        self._read_us = 0
        self._read_boot_us = self._base_boot_us
        # Walls against our boot clock: our own wall may have jumped since they were heard.
        self._peers: dict[str, int] = {}
        self.distrusts_wall = False
        # How far the wall clock is ahead while it is not followed.
        self.ahead_us = 0
        self.told = False
        self._log = structlog.get_logger()

    def applied(self, at_us: int) -> None:
        """An entry of this time was applied."""
        if at_us > self._base_us:
            self._base_us, self._base_boot_us = at_us, self._clock.boot_us()
        if at_us > self._last_us:
            # Another leader's: what this daemon made of its own clock meanwhile binds nobody.
            self._read_us = 0

    def observe(self, peer: str, wall_us: int) -> None:
        """A voter's wall clock, just received."""
        self._peers[peer] = wall_us - self._clock.boot_us()

    def now_us(self) -> int:
        """Never less than it was, also where the wall clock that it followed goes back."""
        wall_us, boot_us = self._clock.wall_us(), self._clock.boot_us()
        elapsed_us = self._base_us + boot_us - self._base_boot_us
        jumped = self._base_us > 0 and wall_us > elapsed_us + JUMP_US and not self._majority_agrees(wall_us)
        self.distrusts_wall = jumped
        self.ahead_us = wall_us - elapsed_us if jumped else 0
        # Right after a start nobody was heard yet, and the last entry may be hours old: no alarm.
        if jumped != self.told and 2 * (1 + len(self._heard())) > len(self._voters()):
            self.told = jumped
            self._tell(wall_us - elapsed_us)
        now_us = elapsed_us if jumped else max(wall_us, elapsed_us)
        if self._read_us:
            now_us = max(now_us, self._read_us + boot_us - self._read_boot_us)
        self._read_us, self._read_boot_us = now_us, boot_us
        return now_us

    def stamp_us(self) -> int:
        """Time for the next entry: later than any stamped or applied before."""
        self._last_us = max(self.now_us(), self._last_us + 1, self._base_us + 1)
        return self._last_us

    def _tell(self, ahead_us: int) -> None:
        if self.told:
            remedy = "Set this machine's clock, best by NTP; leader time goes on without it until then."
            self._log.error("clock not followed", ahead_s=round(ahead_us / 1e6, 3), remedy=remedy)
        else:
            self._log.info("clock followed again")

    def _majority_agrees(self, wall_us: int) -> bool:
        ours_us = wall_us - self._clock.boot_us()
        near = 1 + sum(abs(ours_us - theirs_us) <= JUMP_US for theirs_us in self._heard())
        return near * 2 > len(self._voters())

    def _heard(self) -> list[int]:
        """The clocks of the other voters, as far as they were heard."""
        voters = self._voters()
        return [theirs_us for peer, theirs_us in self._peers.items() if peer in voters]
