"""A lease as its holder may trust it: over, by this machine's own boot clock, before etcd can give it away."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from node.consensus.etcd.settings import EtcdSettings
from node.consensus.etcd.store import Etcd, LeaseGone, Refused, Unreachable
from node.env import Clock


class Lease:
    """Granted by grant(); keep() prolongs it."""

    def __init__(self, etcd: Etcd, clock: Clock, settings: EtcdSettings, lease_id: int, ttl_s: int) -> None:
        self._etcd, self._clock, self._settings = etcd, clock, settings
        self.id = lease_id
        self._ttl_s = ttl_s
        self._until_us = 0
        self._ended = False

    @classmethod
    async def grant(cls, etcd: Etcd, clock: Clock, settings: EtcdSettings) -> Lease:
        """Raises Unreachable or Refused."""
        asked_us = clock.boot_us()
        lease_id, ttl_s = await etcd.grant(settings.lease_s)
        lease = cls(etcd, clock, settings, lease_id, ttl_s)
        lease._prolonged(asked_us, ttl_s)
        return lease

    @property
    def valid(self) -> bool:
        """Whether etcd still keeps it for sure. Ask right before whatever needs it."""
        return not self._ended and self._clock.boot_us() < self._until_us

    async def keep(self) -> None:
        """Prolong it until that fails for too long; then it is not valid any more."""
        wait_s = self._ttl_s / 3
        while self.valid:
            left_s = (self._until_us - self._clock.boot_us()) / 1e6
            await asyncio.sleep(max(0.0, min(wait_s, left_s)))
            asked_us = self._clock.boot_us()
            try:
                ttl_s = await self._etcd.keep_alive(self.id, self._ttl_s / 3)
            except LeaseGone:
                self.end()
            except (Unreachable, Refused):
                wait_s = self._settings.retry_s
            else:
                self._prolonged(asked_us, ttl_s)
                wait_s = self._ttl_s / 3

    def end(self) -> None:
        """Not valid from now on, whatever etcd thinks, and may answer yet."""
        self._ended = True

    async def revoke(self) -> None:
        """Give it back, so that nobody has to wait until it runs out; etcd ends it by itself otherwise."""
        self.end()
        with suppress(Unreachable, Refused):
            await self._etcd.revoke(self.id)

    def _prolonged(self, asked_us: int, ttl_s: int) -> None:
        # etcd counts from when it heard, which was not before it was asked.
        self._until_us = max(self._until_us, asked_us + int(ttl_s * 1e6 * (1 - self._settings.lease_margin)))
