"""Throughput of the machine's network links against their speed."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from cortex.v1 import types_pb2
from node.worker.resources.rates import Rates

COUNTERS_WRAP_AT = 2**64
INTERFACES = Path("/sys/class/net")
# asking the kernel for link speeds costs more than all else here, and they hardly ever change
LINKS_EVERY_US = 10_000_000


@dataclass(frozen=True, slots=True)
class Link:
    """A network interface that is up. `bits_per_s` is 0 where its driver does not know."""

    name: str
    bits_per_s: int
    loopback: bool
    has_device: bool


def physical(links: Iterable[Link]) -> list[Link]:
    """Those that a device stands behind: bridges, tunnels and containers' ends would count the same bytes twice.
    In a container its own virtual link is all that there is, so then that one counts."""
    outside = [link for link in links if not link.loopback]
    return [link for link in outside if link.has_device] or outside


def throughput(per_s: Mapping[str, float], links: Collection[Link]) -> types_pb2.Resources:
    """Sums over the links; the speed is the sum of those that are known."""
    drops = [per_s[f"{link.name} drops"] for link in links if f"{link.name} drops" in per_s]
    return types_pb2.Resources(
        rx_bytes_per_s=sum(per_s.get(f"{link.name} rx", 0.0) for link in links),
        tx_bytes_per_s=sum(per_s.get(f"{link.name} tx", 0.0) for link in links),
        link_bits_per_s=sum(link.bits_per_s for link in links),
        net_drops_per_s=sum(drops) if drops else None,
    )


def read_links() -> list[Link]:
    return [
        Link(
            name=name,
            bits_per_s=max(0, stats.speed) * 1_000_000,
            loopback="loopback" in stats.flags.split(","),
            has_device=(INTERFACES / name / "device").exists(),
        )
        for name, stats in psutil.net_if_stats().items()
        if stats.isup
    ]


class Network:
    name = "network"

    def __init__(self) -> None:
        self._rates = Rates(COUNTERS_WRAP_AT)
        self._links: list[Link] = []
        self._links_until_us = 0

    def read(self, now_us: int) -> types_pb2.Resources:
        if now_us >= self._links_until_us:
            self._links = physical(read_links())
            self._links_until_us = now_us + LINKS_EVERY_US
        counters: dict[str, int] = {}
        for name, nic in psutil.net_io_counters(pernic=True, nowrap=False).items():
            counters[f"{name} rx"] = nic.bytes_recv
            counters[f"{name} tx"] = nic.bytes_sent
            counters[f"{name} drops"] = nic.dropin + nic.dropout
        return throughput(self._rates.update(counters, now_us), self._links)
