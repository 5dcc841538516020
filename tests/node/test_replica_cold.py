"""Rows that apply asks for and memory lacks: what waits to be saved goes over what the store has."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from cortex.v1.log_pb2 import Command, Entry, HistoryTrim
from cortex.v1.types_pb2 import Event, SubmitKey
from node.consensus.port import Committed
from node.core.model import Change, Key, Table, recount
from node.env import Env, RealClock
from node.replica import Replica
from node.store.store import Store
from tests.core.cluster import cluster

EVENT = Key(Table.EVENTS, "3-0")


def replica(store: Store) -> Replica:
    """One that is not started, so that nothing is saved."""

    def nothing(_name: str) -> Any:
        return None

    env = Env(RealClock(), random.Random(1), Path("/nonexistent"), nothing, nothing)
    made = Replica(env, "n1", store, print)  # type: ignore[arg-type]
    made._check_serving = lambda: None  # type: ignore[method-assign]
    return made


async def test_what_waits_goes_over_what_is_saved() -> None:
    store = Store(":memory:")
    store.open()
    saved, kept = Event(id="3-0", index=3, detail="saved"), Event(id="3-1", index=3)
    key = SubmitKey(key="k", task_id="saved")
    rows = [Change(*EVENT, None, saved), Change(Table.EVENTS, "3-1", None, kept)]
    store.save([*rows, Change(Table.SUBMIT_KEYS, "k", None, key)], 3, 1, 1, 0)
    one = replica(store)
    wanted = [EVENT, Key(Table.EVENTS, "3-1"), Key(Table.EVENTS, "4-0"), Key(Table.SUBMIT_KEYS, "k")]
    assert one._cold(wanted) == {wanted[0]: saved, wanted[1]: kept, wanted[2]: None, wanted[3]: key}
    new = Event(id="4-0", index=4)
    changes = [Change(*EVENT, saved, None), Change(Table.EVENTS, "4-0", None, new)]
    one.saver.add([*changes, Change(Table.SUBMIT_KEYS, "k", key, None)], 4, 1, 1, 0)
    assert one._cold(wanted) == {wanted[0]: None, wanted[1]: kept, wanted[2]: new, wanted[3]: None}


async def test_a_replica_that_catches_up_trims_what_it_has_not_saved() -> None:
    """Events of an entry, and the trimming of them, may both be applied before the first save."""
    m = cluster()
    task_id = m.submit()
    events = [event.id for event in m.events]
    trim = HistoryTrim(before_us=m.now_us + 1, event_ids=events)
    m.one(Command(history_trim=trim))
    assert len([key for key in m.rows if key.table is Table.EVENTS]) == 1
    store = Store(":memory:")
    store.open()
    one = replica(store)
    for index, data in enumerate(m.log, 1):
        assert Entry.FromString(data)
        one._apply([Committed(index, 1, data)])
    assert task_id in one.state.tasks
    assert one.state.digest == m.state.digest == recount(m.rows.values())


async def test_a_replica_that_catches_up_lets_others_have_their_turn() -> None:
    m = cluster()
    for _ in range(30):
        reply = m.apply(*(Command(task_submit=m.submission([b"x" * 40_000])) for _ in range(2)))
        assert all(answer.accepted for answer in reply.commands)
    store = Store(":memory:")
    store.open()
    one = replica(store)
    log = [Committed(index, 1, data) for index, data in enumerate(m.log, 1)]
    engine = SimpleNamespace(entries=lambda after, limit: log[after : after + limit], commit_index=len(log))
    one.attach(engine)  # type: ignore[arg-type]
    one.committed()
    turns = 0
    while one.state.index < len(log):
        await asyncio.sleep(0)
        turns += 1
    assert turns >= 10
    assert one.state.digest == m.state.digest
