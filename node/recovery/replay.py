"""Bringing a store to the end of a log while no daemon runs on it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from cortex.v1.log_pb2 import Entry
from node.consensus.port import Committed
from node.core import machine, reads
from node.core.model import Change, Key, Row
from node.core.rebase import INDEX_STEP, TERM_STEP, rebased
from node.core.state import ClusterState
from node.store.store import Store

_BATCH = 256


def load(store: Store) -> ClusterState:
    """The state as it was saved last. Raises StoreError."""
    saved, state = store.saved(), ClusterState()
    state.load(store.load_live(), saved.index, saved.term, saved.at_us, saved.digest)
    return state


def replay(store: Store, entries: Sequence[Committed]) -> ClusterState:
    """Apply and save what follows the saved entry; the state at the end. Raises StoreError, LevelTooNew."""
    state = load(store)
    missing = [entry for entry in entries if entry.index > state.index]
    for start in range(0, len(missing), _BATCH):
        _apply(store, state, missing[start : start + _BATCH])
    return state


def rebase(store: Store, voters: Mapping[str, str], now_us: int, term: int, actor: str) -> ClusterState:
    """Step to the next recovery epoch, far behind the saved entry, with these voters, addresses by id.

    `term` is the last one known. Raises StoreError.
    """
    state = load(store)
    index = state.index + INDEX_STEP
    outcome = rebased(state, index, now_us, voters, actor)
    term = max(term, state.term) + TERM_STEP
    state.commit(outcome, index, term, max(now_us, state.at_us))
    store.save(outcome.changes, index, term, state.at_us, state.digest)
    return state


def _apply(store: Store, state: ClusterState, batch: Sequence[Committed]) -> None:
    def stored(keys: Iterable[Key]) -> dict[Key, Row | None]:
        wanted = list(keys)
        found = store.get(wanted)
        return {key: found.get(key) for key in wanted}

    parsed = [Entry.FromString(committed.data) for committed in batch]
    cold = reads.gather(parsed, state, stored)
    changes: list[Change] = []
    for committed, entry in zip(batch, parsed, strict=True):
        machine.check_level(entry)
        outcome = machine.apply(state, cold, entry, committed.index, committed.term)
        state.commit(outcome, committed.index, committed.term, entry.at_us)
        for table, row_id, _, new in outcome.changes if cold else ():
            key = Key(table, row_id)
            if key in cold:
                cold[key] = new
        state.adopt(reads.adopted(outcome.changes, cold))
        changes.extend(outcome.changes)
    store.save(changes, state.index, state.term, state.at_us, state.digest)
