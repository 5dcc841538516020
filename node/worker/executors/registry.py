"""Executors by name: entry points of the group `cortex.executors`, each a callable that takes a Setup.

Another distribution adds a type of its own by an entry point of that group, or replaces one by its name.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import cast

import structlog

from cortex.v1.types_pb2 import ExecutorOffer, Node
from node.core import checks
from node.core.faults import Code, Fault
from node.worker.executors.port import Executor, Offer, Sandboxing, Setup

GROUP = "cortex.executors"
OURS = "cortex-cluster"


@dataclass(frozen=True, slots=True)
class Found:
    """An executor, and what came of trying it."""

    executor: Executor
    offer: Offer


def found_names() -> list[str]:
    return sorted(_entries())


def load(name: str, setup: Setup) -> Executor:
    """The executor of that name. Raises Fault."""
    entry = _entries().get(name)
    if entry is None:
        known = ", ".join(found_names()) or "none: is the distribution installed?"
        raise Fault(Code.INVALID, f"There is no executor {name!r}.", f"Known are {known}.")
    try:
        make = cast(Callable[[Setup], Executor], entry.load())
        return make(setup)
    except Fault:
        raise
    except Exception as error:
        where = entry.dist.name if entry.dist is not None else entry.value
        message = f"Executor {name} of {where} does not load: {type(error).__name__}: {error}."
        raise Fault(Code.INTERNAL, message, "Correct or uninstall it, or leave it out of `executors`.") from error


def load_all(names: Sequence[str], setups: Callable[[str], Setup], set_up: Collection[str] = ()) -> list[Found]:
    """All that `names` names, or all there are, tried one after the other. Blocks; one that does not load or
    breaks while it is tried is not offered, and said. Raises Fault for one that somebody named, or `set_up`.
    """
    found: list[Found] = []
    log = structlog.get_logger()
    for name in sorted(set(set_up) - set(found_names())):
        load(name, setups(name))
    for name in names or found_names():
        try:
            executor = load(name, setups(name))
        except Fault as fault:
            if names or name in set_up:
                raise
            log.warning("executor left out", name=name, error=fault.message, remedy=fault.remedy)
            continue
        try:
            offer = executor.probe()
        except Exception as error:
            offer = Offer(
                False, reason=f"Trying it failed: {type(error).__name__}: {error}. Correct that, restart."
            )
        if not offer.available:
            log.info("executor not available", name=name, reason=offer.reason)
        found.append(Found(executor, offer))
    return found


def check(names: Sequence[str], setups: Callable[[str], Setup], set_up: Collection[str] = ()) -> None:
    """Raises the Fault that `load_all` would, without trying anything."""
    found = set(found_names())
    for name in sorted(set(names or found & set(set_up)) | set(set_up) - found):
        load(name, setups(name))


def describe(node: Node, found: Sequence[Found], slots: Mapping[str, int]) -> None:
    """Write into `node` what its executors offer; `slots` is the configuration's, by the type's name."""
    for each in found:
        kind, offer = each.executor.type, each.offer
        node.executors.append(
            ExecutorOffer(type=kind, available=offer.available, detail=offer.detail, reason=offer.reason)
        )
        if isinstance(each.executor, Sandboxing):
            node.sandboxes.extend(each.executor.sandboxes)
        if offer.available:
            node.slots.add(type=kind, count=slots.get(checks.type_name(kind), offer.slots))
            node.capabilities.extend(offer.capabilities)


def _entries() -> dict[str, EntryPoint]:
    """By name; another distribution's stands for ours."""
    entries: dict[str, EntryPoint] = {}
    for entry in entry_points(group=GROUP):
        ours = entry.dist is not None and entry.dist.name == OURS
        if entry.name not in entries or not ours:
            entries[entry.name] = entry
    return entries
