"""The clusters that one console can look at. Pure."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field

from tui.console.causes import CausesFeed
from tui.console.undo import OwnOperations
from tui.operator.keep import Keep
from tui.plans.intents import Intents
from tui.source import Source
from tui.store.view import ClusterView

COLOURS = ("accent", "ok", "busy", "wait", "warn", "strong")
"""Roles that names of clusters are drawn in."""


@dataclass(frozen=True)
class Context:
    """A cluster by the operator's name for it. `open` raises ClusterError."""

    name: str
    where: str
    open: Callable[[], tuple[Source, Keep]]


@dataclass
class Held:
    """What the console has of one cluster, also while it looks at another."""

    number: int
    source: Source
    keep: Keep
    view: ClusterView = field(default_factory=ClusterView)
    causes: CausesFeed = field(default_factory=CausesFeed)
    own: OwnOperations = field(default_factory=OwnOperations)
    intents: Intents = field(default_factory=Intents)
    place: str = "nodes"
    previous_place: str = "nodes"


def colour_of(name: str) -> str:
    """The same for a name everywhere and always."""
    return COLOURS[zlib.crc32(name.encode("utf-8", "replace")) % len(COLOURS)]
