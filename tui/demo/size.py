"""How big the made-up cluster is: `nodes=1000,tasks=100000,rate=1`. Pure."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

from tui.errors import ClusterError, usage

MOST = 1_000_000


@dataclass(frozen=True)
class DemoSize:
    """What the cluster has, and how fast it moves."""

    nodes: int = 12
    tasks: int = 400
    rate: int = 1
    """Samples of every node per second; 0 = the cluster stands still."""
    changes: int = 20
    """Tasks that change their state per second."""
    letters: int = 60
    """Dead letters, of five causes."""
    workflows: int = 6
    members: int = 24
    """Tasks of the first workflow; the others are small."""


def parse_size(text: str) -> DemoSize:
    """Raises ClusterError, of kind usage."""
    size = DemoSize()
    known = ", ".join(field.name for field in fields(DemoSize))
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = part.partition("=")
        if name not in {field.name for field in fields(DemoSize)} or not equals:
            raise usage(f"--demo has no {name!r}.", f"Give name=number of: {known}.")
        size = replace(size, **{name: _number(name, value)})
    if not size.nodes:
        raise usage("--demo has no nodes.", "Give nodes=1 or more.")
    return size


def _number(name: str, value: str) -> int:
    if not (value.isascii() and value.isdigit()) or int(value) > MOST:
        raise _bad(name, value)
    return int(value)


def _bad(name: str, value: str) -> ClusterError:
    return usage(f"--demo {name} is {value!r}.", f"Give a whole number up to {MOST}.")
