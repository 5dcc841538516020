"""A daemon with counters and a trace, for measurements only: `python -m bench._counted run …`.

Counts and moments go to DATA/counted.json when USR2 comes, and begin anew.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from asyncio import base_events
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from node import cli, replica
from node.consensus.raftos import engine, journal
from node.leader import placement, reports, session
from node.rpc import link, tasks, watch
from node.store import store
from node.worker import ledger, outbox, runner, supervision

_MOMENTS = 200_000

counts: Counter[str] = Counter()
moments: list[tuple[int, str]] = []


def _note(name: str) -> None:
    counts[name] += 1
    if len(moments) < _MOMENTS:
        moments.append((time.monotonic_ns(), name))


def _before(owner: Any, method: str, name: str, also: Callable[..., None] | None = None) -> None:
    """Note every call of `owner.method`, as it begins."""
    inner = getattr(owner, method)

    def outer(*args: Any, **more: Any) -> Any:
        _note(name)
        if also is not None:
            also(*args, **more)
        return inner(*args, **more)

    setattr(owner, method, outer)


def _after(owner: Any, method: str, name: str) -> None:
    """Note every call of `owner.method`, as it ends."""
    inner = getattr(owner, method)

    def outer(*args: Any, **more: Any) -> Any:
        result = inner(*args, **more)
        _note(name)
        return result

    setattr(owner, method, outer)


def _after_await(owner: Any, method: str, name: str) -> None:
    inner = getattr(owner, method)

    async def outer(*args: Any, **more: Any) -> Any:
        result = await inner(*args, **more)
        _note(name)
        return result

    setattr(owner, method, outer)


def _applied(_self: object, entries: Any) -> None:
    counts["entries applied"] += len(entries)


def _stored(_self: object, changes: Any, *_: object) -> None:
    counts["rows saved, before merging"] += len(changes)


def _install() -> None:
    _before(base_events.BaseEventLoop, "_run_once", "turns of the loop")
    _before(tasks.TaskCalls, "submit", "1 submit arrives")
    _before(engine.RaftosEngine, "propose", "proposal")
    _after(journal.Journal, "commit", "journal fsync")
    _before(replica.Replica, "_apply", "apply begins", _applied)
    _after(replica.Replica, "_apply", "apply ends")
    _before(placement.Placement, "_propose", "placement proposed")
    _before(session.Session, "assign", "assignment pushed")
    _before(runner.Runner, "accept", "assignment arrives")
    _after(ledger.Ledger, "_write", "ledger fsync")
    _before(supervision.ProcessSupervisor, "spawn", "order to the supervisor")
    _before(runner.Runner, "_on_events", "supervisor's events arrive")
    _before(outbox.Outbox, "_flush", "reports flushed")
    _before(reports.Reports, "add", "reports arrive")
    _before(reports.Reports, "_record", "reports proposed")
    _before(link.GrpcLink, "send_raft", "raft message")
    _before(link.ClientStream, "send", "worker's message")
    _before(link.ServerStream, "send", "leader's message")
    _before(watch.Watcher, "_frame", "watch frame")
    _before(store.Store, "save", "save", _stored)


def _dump(path: Path) -> None:
    new = path.with_suffix(".new")
    new.write_text(json.dumps({"counts": counts, "moments": moments}))
    new.rename(path)
    counts.clear()
    moments.clear()


def main() -> None:
    """As cortexd."""
    _install()
    data = Path(sys.argv[sys.argv.index("--data") + 1])
    signal.signal(signal.SIGUSR2, lambda *_: _dump(data / "counted.json"))
    cli.main()


if __name__ == "__main__":
    main()
