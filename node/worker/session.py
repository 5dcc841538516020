"""The worker's side of its session with the leader: find it, say Hello, renew, report, obey."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass

import structlog

from cortex.v1 import worker_pb2 as w
from cortex.v1.types_pb2 import Node, Resources
from node.env import Env
from node.link import Link, LinkClosed, WorkerStream
from node.worker.renewals import Renewals
from node.worker.runner import Runner

_OPEN_TIMEOUT_S = 5.0
_WELCOME_TIMEOUT_S = 15.0
_SAMPLE_S = 1.0
_RENEW_RETRY_S = 1.0
_RENEW_NOW_S = 0.1
_FIRST_DELAY_S = 0.05
_LONGEST_DELAY_S = 2.0
_REFUSED_DELAY_S = 10.0
# Hints may point at each other while an election runs.
_HINTS_AT_ONCE = 2


@dataclass(frozen=True, slots=True)
class _Outcome:
    """How a try ended: `hint` is where the leader may be."""

    refused: bool = False
    hint: str = ""


class LeaderFinder:
    """Keeps one session with whoever leads. `candidates` lists addresses to try, the likeliest first."""

    def __init__(
        self,
        env: Env,
        node: Node,
        link: Link,
        runner: Runner,
        sample: Callable[[], Resources],
        candidates: Callable[[], list[str]],
    ) -> None:
        self._env = env
        self._node = node
        self._link = link
        self._runner = runner
        self._sample = sample
        self._candidates = candidates
        self._log = structlog.get_logger(node=node.id)
        self._turn = 0
        self._failures = 0
        self.voters: Sequence[str] = ()
        """Addresses, as the last leader told them."""

    async def run(self) -> None:
        """Look for the leader and serve it, again and again. Runs until cancelled."""
        hint = ""
        hints = 0
        while True:
            self._failures += 1
            address = hint or self._next_candidate()
            outcome = await self._try(address) if address else _Outcome()
            hint = outcome.hint if outcome.hint != address else ""
            if hint and hints < _HINTS_AT_ONCE:
                hints += 1
                continue
            hints = 0
            await asyncio.sleep(self._delay_s(outcome))

    def _next_candidate(self) -> str:
        candidates = self._candidates()
        self._turn += 1
        return candidates[(self._turn - 1) % len(candidates)] if candidates else ""

    def _delay_s(self, outcome: _Outcome) -> float:
        if outcome.refused:
            return _REFUSED_DELAY_S
        delay_s: float = _FIRST_DELAY_S * 2 ** min(self._failures, 10)
        return min(delay_s, _LONGEST_DELAY_S) * self._env.random.uniform(0.5, 1.0)

    async def _try(self, address: str) -> _Outcome:
        try:
            async with asyncio.timeout(_OPEN_TIMEOUT_S):
                stream = await self._link.open_session(address)
        except (LinkClosed, TimeoutError):
            return _Outcome()
        try:
            return await self._serve(stream)
        except (LinkClosed, TimeoutError):
            return _Outcome()
        finally:
            with contextlib.suppress(LinkClosed):
                await stream.close()

    async def _serve(self, stream: WorkerStream) -> _Outcome:
        runner = self._runner
        hello = self._hello()
        renewals = Renewals(hello.boot_us, runner.attempts.fences(), runner.attempts.version)
        async with asyncio.timeout(_WELCOME_TIMEOUT_S):
            await stream.send(w.WorkerMessage(hello=hello))
            first = await stream.receive()
        kind = first.WhichOneof("kind")
        if kind == "not_leader":
            return _Outcome(hint=first.not_leader.address)
        if kind == "refused":
            self._log.error("session refused", error=first.refused.reason, remedy=first.refused.remedy)
            return _Outcome(refused=True)
        if kind != "welcome" or not self._is_ours(first.welcome, stream):
            return _Outcome(refused=True)
        session = Session(self._env, runner, stream, first.welcome, renewals, self._sample)
        self._failures = self._turn = 0
        self.voters = tuple(first.welcome.voters)
        self._log.info("session began", leader=stream.peer, term=first.welcome.term)
        try:
            hint = await session.run()
        finally:
            self._log.info("session ended", leader=stream.peer)
        return _Outcome(hint=hint)

    def _hello(self) -> w.Hello:
        contents = self._runner.ledger.contents
        node = Node()
        node.CopyFrom(self._node)
        node.incarnation = contents.incarnation
        return w.Hello(
            node=node,
            inventory=self._runner.attempts.inventory(),
            boot_us=self._env.clock.boot_us(),
            wall_us=self._env.clock.wall_us(),
            cluster_id=contents.cluster_id,
            recovery_epoch=contents.recovery_epoch,
        )

    def _is_ours(self, welcome: w.Welcome, stream: WorkerStream) -> bool:
        ledger = self._runner.ledger
        known = ledger.contents.cluster_id
        if known and welcome.cluster_id and known != welcome.cluster_id:
            self._log.error(
                "another cluster answers",
                peer=stream.peer,
                error=f"This node belongs to cluster {known}, {stream.peer} to {welcome.cluster_id}.",
                remedy="Give it an empty data folder, or the addresses of its own cluster.",
            )
            return False
        epoch = ledger.contents.recovery_epoch
        if welcome.recovery_epoch < epoch:
            self._log.error(
                "a cluster from before a recovery answers",
                peer=stream.peer,
                error=f"This node knows recovery {epoch} of the cluster, {stream.peer} {welcome.recovery_epoch}.",
                remedy="Stop the daemons that were not part of the recovery.",
            )
            return False
        if welcome.cluster_id and not known:
            ledger.set_cluster(welcome.cluster_id)
        if welcome.recovery_epoch > epoch:
            ledger.set_recovery_epoch(welcome.recovery_epoch)
        return True


class Session:
    """One session after its Welcome."""

    def __init__(
        self,
        env: Env,
        runner: Runner,
        stream: WorkerStream,
        welcome: w.Welcome,
        renewals: Renewals,
        sample: Callable[[], Resources],
    ) -> None:
        self._env = env
        self._runner = runner
        self._stream = stream
        self._welcome = welcome
        self._renewals = renewals
        self._sample = sample
        self._renew_s = (welcome.renew_ms or 10_000) / 1000
        self._heartbeat_s = (welcome.heartbeat_ms or 5_000) / 1000
        self._outgoing: deque[w.WorkerMessage] = deque()
        self._send_wake = asyncio.Event()
        self._renew_wake = asyncio.Event()

    async def run(self) -> str:
        """Serve until the session ends; address of the leader that was named last, or empty. Raises LinkClosed."""
        self._runner.judge(self._welcome.verdicts)
        for batch in self._runner.outbox.sendable():
            self._push(w.WorkerMessage(reports=batch))
        self._runner.on_batch = lambda batch: self._push(w.WorkerMessage(reports=batch))
        parts: list[Coroutine[None, None, str]] = [
            self._receive(),
            self._send(),
            self._renew(),
            self._beat(),
            self._push_samples(),
        ]
        tasks = [asyncio.create_task(part) for part in parts]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            return next(iter(done)).result()
        finally:
            self._runner.on_batch = None
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _push(self, message: w.WorkerMessage) -> None:
        self._outgoing.append(message)
        self._send_wake.set()

    async def _send(self) -> str:
        while True:
            while self._outgoing:
                await self._stream.send(self._outgoing.popleft())
            self._send_wake.clear()
            await self._send_wake.wait()

    async def _receive(self) -> str:
        # A leader beats every heartbeat_s: two silent ones, and it is gone or cut off.
        while True:
            async with asyncio.timeout(2 * self._heartbeat_s + _RENEW_RETRY_S):
                message = await self._stream.receive()
            if message.HasField("not_leader"):
                return message.not_leader.address
            self._obey(message)

    def _obey(self, message: w.LeaderMessage) -> None:
        runner = self._runner
        kind = message.WhichOneof("kind")
        if kind == "assignments":
            runner.accept(message.assignments.assignments, self._renewals.leased_from_us)
            if self._renewals.leased_from_us is None:
                self._renew_wake.set()
        elif kind == "reports_ack":
            runner.acknowledged(message.reports_ack.number, message.reports_ack.verdicts)
        elif kind == "renewal_ack":
            self._renewed(message.renewal_ack)
        elif kind == "stop":
            runner.stop_attempts(message.stop.items)
        elif kind == "recall":
            runner.recall(message.recall)

    def _renewed(self, ack: w.RenewalAck) -> None:
        sent = self._renewals.acknowledge(ack.number)
        if sent is not None:
            self._renew_s = ack.renew_ms / 1000 or self._renew_s
            self._heartbeat_s = ack.heartbeat_ms / 1000 or self._heartbeat_s
            self._runner.renewed(sent.fences, sent.sent_us, ack.lease_ms or self._welcome.lease_ms)
            self._renew_wake.set()

    async def _renew(self) -> str:
        while True:
            wait_s = self._until_renewal_s()
            if wait_s > 0:
                self._renew_wake.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wait_s):
                        await self._renew_wake.wait()
                continue
            attempts = self._runner.attempts
            sent_us = self._env.clock.boot_us()
            fences = attempts.fences()
            number, changed = self._renewals.next(sent_us, fences, attempts.version)
            renewal = w.Renewal(
                number=number,
                sent_boot_us=sent_us,
                set_version=attempts.version,
                fences=sorted(fences) if changed else (),
                wall_us=self._env.clock.wall_us(),
            )
            # Ahead of what waits: the lease counts from now.
            self._outgoing.appendleft(w.WorkerMessage(renewal=renewal))
            self._send_wake.set()

    def _until_renewal_s(self) -> float:
        interval_s = self._renew_s
        if self._runner.attempts.wants_lease():
            interval_s = _RENEW_NOW_S
        if self._renewals.unacknowledged:
            interval_s = _RENEW_RETRY_S
        return interval_s - (self._env.clock.boot_us() - self._renewals.last_sent_us) / 1e6

    async def _beat(self) -> str:
        while True:
            await asyncio.sleep(self._heartbeat_s)
            beat = w.Heartbeat(boot_us=self._env.clock.boot_us())
            self._push(w.WorkerMessage(heartbeat=beat))

    async def _push_samples(self) -> str:
        begins = True
        while True:
            attempts = self._runner.attempts
            sample = w.Sample(
                resources=self._sample(),
                running=attempts.running,
                waiting=attempts.live - attempts.running,
                # A new leader knows nothing yet.
                progress=self._runner.drivers.take_progress(everything=begins),
                attached=self._runner.attached,
            )
            begins = False
            self._push(w.WorkerMessage(sample=sample))
            await asyncio.sleep(_SAMPLE_S)
