"""ClusterClient: calls, Watch and Output of one cluster, over whichever of its daemons answers."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, Self

import grpc

from cortex.v1 import cluster_pb2
from tui.calls.drains import DrainCalls
from tui.calls.history import HistoryCalls
from tui.calls.nodes import NodeCalls
from tui.calls.operations import OperationCalls
from tui.calls.outputs import OutputCalls
from tui.calls.tasks import TaskCalls
from tui.calls.workflows import WorkflowCalls
from tui.errors import ClusterError, Unreachable, from_rpc
from tui.link.resume import FIRST_DELAY_S, MAX_DELAY_S, Patience, Position, resume_after
from tui.link.wire import Channels, Target, check_size

__all__ = ["ClusterClient", "ClusterError", "Link", "Target"]

CALL_TIMEOUT_S = 10.0
UNREACHABLE_AFTER_S = 2.0
SILENCE_S = 2.0
LAST_ATTEMPT_S = 1.0
"""With less time than this, or a quarter of what a call has, nothing is asked again: it would be cut off rather
than answered, and its outcome be unknown.
"""


@dataclass(frozen=True)
class Link:
    """Whether the cluster answers. `since` is time.monotonic() seconds of the last change of `up`."""

    up: bool
    since: float
    address: str
    reason: str


class _Reply(Protocol):
    """What every reply has."""

    def ByteSize(self) -> int: ...  # noqa: N802


class ClusterClient(TaskCalls, NodeCalls, WorkflowCalls, DrainCalls, OperationCalls, HistoryCalls, OutputCalls):
    """One cluster. Not tied to any user interface; all methods belong to one event loop.

    Every call raises ClusterError. `on_link` is told each change of the link, from within the loop.
    `min_index` (log index) is sent with every read, so that it shows at least what was written before it; it
    follows this client's own writes, and what single rows showed, which lists may lag behind. `linearizable` reads
    show what was committed before them by whomever, and are refused where no quorum says so.
    """

    def __init__(
        self,
        targets: Sequence[Target | str],
        secret: str = "",
        *,
        min_index: int = 0,
        linearizable: bool = False,
        on_link: Callable[[Link], None] | None = None,
        timeout_s: float = CALL_TIMEOUT_S,
    ) -> None:
        if not targets:
            raise ClusterError("usage", "No address of a cluster is known.", "Name one with --data or --cluster.")
        self._channels = Channels([t if isinstance(t, Target) else Target(t) for t in targets], secret)
        self._client_id = uuid.uuid4().hex
        self.on_link = on_link
        self._timeout_s = timeout_s
        self._current = 0
        self._watching = 0
        self.leader = ""
        self.min_index = min_index
        self.linearizable = linearizable
        self.link = Link(up=False, since=time.monotonic(), address=self.targets[0].address, reason="connecting")

    @property
    def targets(self) -> tuple[Target, ...]:
        return self._channels.targets

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        await self._channels.close()

    # Streams.

    async def watch(
        self,
        after_index: int = 0,
        *,
        samples: bool = False,
        events: bool = False,
        patience_s: float | None = None,
    ) -> AsyncGenerator[cluster_pb2.WatchReply, None]:
        """Yields everything after log index `after_index`; 0 begins with a snapshot of all live rows.

        Survives the loss of daemons and links: it goes on from the last index at the next address. When that
        index is too old everywhere, a new snapshot follows: at `snapshot_begin` forget all rows. Raises
        ClusterError when the cluster refuses, or nobody answered for `patience_s` seconds (None = never).
        """
        position = Position(after_index)
        patience = Patience(patience_s)
        self._watching += 1
        try:
            while True:
                target = self._target(prefer_leader=False)
                request = cluster_pb2.WatchRequest(
                    after_index=position.index,
                    snapshot=position.index == 0,
                    samples=samples,
                    events=events,
                    recovery_epoch=position.recovery_epoch,
                )
                try:
                    async with aclosing(self._messages(target, "Watch", request, patience.silence_s)) as replies:
                        async for reply in replies:
                            patience.answered()
                            self._up(target)
                            position.advance(reply)
                            self.leader = reply.leader or self.leader
                            yield reply
                    raise Unreachable(target.address, "it ended the stream", refused=False)
                except ClusterError as error:
                    if error.code == "gone":
                        position.forget()
                    elif not error.transient:
                        raise
                    self._lost(target, error.message)
                    self._rotate(target)
                    await patience.wait(error, len(self.targets))
        finally:
            self._watching -= 1

    async def output(
        self,
        task_id: str,
        stream: cluster_pb2.StreamKind.ValueType = cluster_pb2.STREAM_KIND_UNSPECIFIED,
        *,
        offset: int = 0,
        stderr_offset: int = 0,
        follow: bool = False,
        fence: int = 0,
        node: str = "",
        patience_s: float | None = UNREACHABLE_AFTER_S,
    ) -> AsyncGenerator[cluster_pb2.OutputReply, None]:
        """Yields a task's output from `offset` (bytes) on, of one stream or of both interleaved.

        `fence` names the attempt (0 = the last), `node` the machine that ran it (empty = the task's); `follow` goes
        on until that attempt has ended. After a lost link it resumes at the same byte. Raises ClusterError after
        `patience_s` seconds without an answer.
        """
        request = cluster_pb2.OutputRequest(
            id=task_id,
            stream=stream,
            offset=offset,
            stderr_offset=stderr_offset,
            follow=follow,
            fence=fence,
            node=node,
        )
        patience = Patience(patience_s)
        while True:
            target = self._target(prefer_leader=False)
            try:
                async with aclosing(self._messages(target, "Output", request, None)) as replies:
                    async for reply in replies:
                        patience.answered()
                        resume_after(request, reply)
                        yield reply
                        if reply.ended:
                            return
                return
            except ClusterError as error:
                if not error.transient:
                    raise
                self._rotate(target)
                await patience.wait(error, len(self.targets))

    async def _replies(self, method: str, request: Any) -> AsyncGenerator[Any, None]:
        patience = Patience(UNREACHABLE_AFTER_S)
        while True:
            target = self._target(prefer_leader=False)
            begun = False
            try:
                async with aclosing(self._messages(target, method, request, None)) as replies:
                    async for reply in replies:
                        begun = True
                        yield reply
                return
            except ClusterError as error:
                if begun or not error.transient:
                    raise
                self._rotate(target)
                await patience.wait(error, len(self.targets))

    # Below: one attempt, its target, and what its failure means.

    def _mutation(self) -> cluster_pb2.Mutation:
        return cluster_pb2.Mutation(client=self._client_id, request_id=uuid.uuid4().hex)

    def _freshness(self) -> cluster_pb2.Freshness:
        return cluster_pb2.Freshness(min_index=self.min_index, linearizable=self.linearizable)

    async def _write(self, method: str, request: Any, timeout_s: float | None = None) -> Any:
        reply = await self._call(method, request, self._timeout_s if timeout_s is None else timeout_s, writes=True)
        self.saw(reply.index)
        return reply

    def saw(self, index: int) -> None:
        self.min_index = max(self.min_index, index)

    async def _call(
        self, method: str, request: Any, timeout_s: float, *, writes: bool = False, final: Sequence[str] = ()
    ) -> Any:
        """Returns the reply of the first daemon that gives one before the deadline.

        What a daemon says with a code of `final` is not asked again.
        """
        check_size(method, request.ByteSize())
        begun = time.monotonic()
        latest_s = timeout_s - min(LAST_ATTEMPT_S, timeout_s / 4)
        delay_s = FIRST_DELAY_S
        told: ClusterError | None = None
        tried = 0
        sent = False
        while True:
            target = self._target(prefer_leader=writes)
            left_s = timeout_s - (time.monotonic() - begun)
            # Half of what is left, so that a daemon that hangs leaves time for another one.
            attempt_s = max(left_s / 2, 0.5) if len(self.targets) > 1 else left_s
            try:
                reply = await self._attempt(target, method, request, attempt_s)
            except ClusterError as error:
                if not error.transient or (error.code in final and not error.silent):
                    raise
                sent = sent or not error.never_sent
                # What a daemon said tells more than that others were silent.
                if told is None or told.silent or not error.silent:
                    told = error
            else:
                self._current = self.targets.index(target)
                if not self._watching:
                    self._up(target)
                return reply
            tried += 1
            self._rotate(target)
            waited_s = time.monotonic() - begun
            only_silence = isinstance(told, Unreachable) and tried >= 2 * len(self.targets)
            over = waited_s + delay_s > latest_s or (only_silence and waited_s >= UNREACHABLE_AFTER_S)
            if not over and tried % len(self.targets) == 0:
                await asyncio.sleep(delay_s)
                delay_s = min(delay_s * 2, MAX_DELAY_S)
                over = time.monotonic() - begun > latest_s
            if over:
                if not self._watching:
                    self._lost(target, told.message)
                raise self._final(told, unknown=writes and sent)

    async def _attempt(self, target: Target, method: str, request: Any, timeout_s: float) -> _Reply:
        call = getattr(self._channels.stub(target), method)
        try:
            reply: _Reply = await call(request, timeout=timeout_s, metadata=self._channels.metadata())
            return reply
        except grpc.aio.AioRpcError as error:
            raise from_rpc(error, target.address, method) from error

    async def _messages(
        self, target: Target, method: str, request: Any, silence_s: float | None
    ) -> AsyncGenerator[Any, None]:
        """Yields one stream's messages; one that is silent for `silence_s` is given up with its connection."""
        stub = self._channels.stub(target)
        call = getattr(stub, method)(request, metadata=self._channels.metadata())
        loop = asyncio.get_running_loop()
        try:
            while True:
                alarm = loop.call_later(SILENCE_S, self._lost, target, "no heartbeat") if silence_s else None
                try:
                    async with asyncio.timeout(silence_s):
                        message = await call.read()
                finally:
                    if alarm is not None:
                        alarm.cancel()
                if message is grpc.aio.EOF:  # type: ignore[attr-defined]
                    return
                yield message
        except grpc.aio.AioRpcError as error:
            raise from_rpc(error, target.address, method) from error
        except TimeoutError as error:
            await self._channels.reset(target)
            raise Unreachable(target.address, "no heartbeat", refused=False) from error
        finally:
            call.cancel()

    def _target(self, *, prefer_leader: bool) -> Target:
        current = self.targets[self._current]
        if prefer_leader and self.leader and self.link.up:
            return next((t for t in self.targets if t.node == self.leader), current)
        return current

    def _rotate(self, failed: Target) -> None:
        """Makes the target after `failed` the current one, unless another failure has already moved on."""
        if failed.node and failed.node == self.leader:
            self.leader = ""
        if self.targets[self._current] == failed:
            self._current = (self._current + 1) % len(self.targets)

    def _final(self, error: ClusterError, *, unknown: bool) -> ClusterError:
        if unknown:
            message = error.message
            if error.code != "outcome_unknown":  # which says so itself
                message = f"{message} Whether the request was carried out is not known."
            remedy = "Look with `cortex tasks` or `cortex nodes` before you send it again."
            return ClusterError("outcome_unknown", message, remedy)
        if isinstance(error, Unreachable) and len(self.targets) > 1:
            addresses = ", ".join(target.address for target in self.targets)
            return ClusterError("unreachable", f"No daemon answers at any of {addresses}.", error.remedy)
        return error

    def _up(self, target: Target) -> None:
        if not self.link.up:
            self._set_link(Link(up=True, since=time.monotonic(), address=target.address, reason=""))

    def _lost(self, target: Target, reason: str) -> None:
        if self.link.up or self.link.reason != reason:
            since = time.monotonic() if self.link.up else self.link.since
            self._set_link(Link(up=False, since=since, address=target.address, reason=reason))

    def _set_link(self, link: Link) -> None:
        self.link = link
        if self.on_link is not None:
            self.on_link(link)
