"""Leases, renewals and heartbeats as the cluster has set them; else as this daemon's configuration says."""

from __future__ import annotations

from node.core import settings as names
from node.leader.port import Replica, Settings


class Times:
    """Read from the applied state at each use: a change acts at once."""

    def __init__(self, replica: Replica, settings: Settings) -> None:
        self._replica = replica
        self._settings = settings

    @property
    def lease_ms(self) -> int:
        """Of what is given out from now on."""
        return self._value(names.LEASE_MS, self._settings.lease_ms)

    @property
    def longest_lease_ms(self) -> int:
        """Of what any leader may have given out."""
        row = self._replica.state.settings.get(names.LEASE_MS)
        return names.longest_lease_ms(row, self._settings.lease_ms, self._replica.now_us())

    @property
    def lease_margin_ms(self) -> int:
        return self._value(names.LEASE_MARGIN_MS, self._settings.lease_margin_ms)

    @property
    def renew_ms(self) -> int:
        return self._value(names.RENEW_MS, self._settings.renew_ms)

    @property
    def heartbeat_ms(self) -> int:
        return self._value(names.HEARTBEAT_MS, self._settings.heartbeat_ms)

    @property
    def suspect_ms(self) -> int:
        return self._value(names.SUSPECT_MS, self._settings.suspect_ms)

    @property
    def offline_ms(self) -> int:
        return self._value(names.OFFLINE_MS, self._settings.offline_ms)

    @property
    def recovery_epoch(self) -> int:
        return names.recovery_epoch(self._replica.state.settings.get(names.RECOVERY_EPOCH))

    def _value(self, name: str, default: int) -> int:
        row = self._replica.state.settings.get(name)
        return default if row is None else names.integer(row, name)
