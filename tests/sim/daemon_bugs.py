"""Deliberate bugs above the log, each a patch over the sound daemon: the harness must find each."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from typing import Any
from unittest.mock import patch

from cortex.v1 import cluster_pb2
from cortex.v1.types_pb2 import Task
from node.core import machine
from node.core.state import ClusterState
from node.core.transitions import cluster, restarts
from node.leader import reports
from node.leader.leases import Leases
from node.link import Caller
from node.replica import Replica
from node.rpc.watch import Watcher
from node.store.store import Saved, Store
from node.worker.ledger import Ledger


def no_fence_check() -> AbstractContextManager[Any]:
    """Reports of an attempt that was given up still count, with the leader and with apply."""
    stack = ExitStack()

    def standing(state: ClusterState, node_id: str, attempt: tuple[str, int]) -> Task | None:
        return state.tasks.get(attempt[0])

    @contextmanager
    def patched() -> Iterator[None]:
        with stack:
            stack.enter_context(patch.object(machine, "FENCED", frozenset()))
            stack.enter_context(patch.object(reports, "standing", standing))
            yield

    return patched()


def replay_what_is_saved() -> AbstractContextManager[Any]:
    """A restart begins before what the store already has."""
    sound = Store.saved

    def saved(self: Store) -> Saved:
        found = sound(self)
        return replace(found, index=max(0, found.index - 5))

    return patch.object(Store, "saved", saved)


def answer_requests_anew() -> AbstractContextManager[Any]:
    """A repeated request is carried out again."""
    return patch.object(cluster, "REPLY_KEPT_US", 0)


def requeue_before_the_lease_ends() -> AbstractContextManager[Any]:
    """The leader gives a task away while its lease may still run."""
    sound = Leases._term_us

    def term_us(self: Leases, task: Task, lease_ms: int) -> int:
        return sound(self, task, lease_ms) // 3

    return patch.object(Leases, "_term_us", term_us)


def renew_without_a_quorum() -> AbstractContextManager[Any]:
    """A leader acknowledges renewals without asking whether it still leads."""

    async def confirm(_self: Replica) -> None:
        return

    return patch.object(Replica, "confirm", confirm)


def accept_without_a_ledger() -> AbstractContextManager[Any]:
    """A restarted worker does not know what it accepted."""
    return patch.object(Ledger, "accept", lambda self, assignment, boot_id: None)


def forget_where_it_ran_before() -> AbstractContextManager[Any]:
    """A command that begins again is not written into the ledger of double runs."""
    return patch.object(restarts, "interrupted", lambda draft, task, new, reason: restarts.over(new))


def resume_watches_at_the_end() -> AbstractContextManager[Any]:
    """A watch that resumes begins with what comes next, not with what it missed."""
    sound = Watcher.watch

    def watch(
        self: Watcher, request: cluster_pb2.WatchRequest, caller: Caller
    ) -> AsyncIterator[cluster_pb2.WatchReply]:
        if not request.snapshot:
            request.after_index = self._replica.feed.last_index
        return sound(self, request, caller)

    return patch.object(Watcher, "watch", watch)


BUGS: Mapping[str, Callable[[], AbstractContextManager[Any]]] = {
    bug.__name__: bug
    for bug in (
        no_fence_check,
        replay_what_is_saved,
        answer_requests_anew,
        requeue_before_the_lease_ends,
        renew_without_a_quorum,
        accept_without_a_ledger,
        forget_where_it_ran_before,
        resume_watches_at_the_end,
    )
}
