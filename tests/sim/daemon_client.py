"""A client of the simulated cluster: it repeats every request until that is answered; and what it submits."""

from __future__ import annotations

import asyncio
import random

from google.protobuf.message import Message

from cortex.v1 import cluster_pb2 as pb
from cortex.v1 import types_pb2
from node.core.faults import Code, Fault
from node.link import Caller, LinkClosed
from tests.sim.daemon_world import World
from tests.sim.loop import Life

_CALL_S = 12.0
_RETRYABLE = (Code.NO_LEADER, Code.OUTCOME_UNKNOWN, Code.OVERLOADED, Code.DEADLINE)


class Client:
    """Repeats every request until it is answered; may ask again later to see whether the answer is the same."""

    def __init__(self, world: World, number: int) -> None:
        self.world = world
        self.random = random.Random(f"{world.seed}/client{number}")
        self.name = f"client{number}"
        self.life = Life(self.name)
        self.link = world.network.link(f"10.0.9.{number}:1", self.life)
        self._number = 0
        self._sent: list[tuple[str, Message]] = []

    async def ask(self, method: str, request: Message, patience: int = 1000) -> Message | None:
        """The answer; None for a refusal, or when nobody answered for `patience` tries."""
        caller = Caller("client")
        for _ in range(patience):
            host = self.random.choice(self.world.hosts)
            try:
                return await self.link.call(host.address, method, request, _CALL_S, caller)
            except LinkClosed:
                pass
            except Fault as fault:
                if fault.code not in _RETRYABLE:
                    self.world.counts[f"refused: {fault.code}"] += 1
                    return None
            await asyncio.sleep(self.random.uniform(0.05, 0.5))
        return None

    def mutation(self) -> pb.Mutation:
        self._number += 1
        return pb.Mutation(client=self.name, request_id=f"{self.name}-{self._number}")

    async def change(self, method: str, request: Message) -> Message | None:
        self._sent.append((method, request))
        return await self._ask_once(method, request)

    async def repeat(self) -> None:
        if self._sent:
            method, request = self.random.choice(self._sent)
            await self._ask_once(method, request)

    async def _ask_once(self, method: str, request: Message) -> Message | None:
        reply = await self.ask(method, request)
        if reply is not None:
            said = type(reply)()
            said.CopyFrom(reply)
            if isinstance(said, pb.DrainNodeReply):
                said.ClearField("plan")  # goes on to say what became of it
            if isinstance(said, pb.RunOnNodesReply):
                said.ClearField("skipped")  # as nodes are now
            self.world.checker.answered(_request_id(request), said.SerializeToString(deterministic=True))
        return reply


def _request_id(request: Message) -> str:
    mutation: pb.Mutation = getattr(request, "mutation")  # noqa: B009
    return mutation.request_id


def rough_task(rng: random.Random) -> pb.TaskRequest:
    """As some_task(), of commands that may end well after TERM, or are silent for longer than they may."""
    task = some_task(rng)
    spec = task.spec
    if len(spec.argv) == 3 and rng.random() < 0.3:
        spec.argv.append(b"obliging")
    if rng.random() < 0.2:
        spec.stall_after_ms = 300
    if rng.random() < 0.05:
        spec.idle_timeout_ms = 600
    return task


def some_task(rng: random.Random) -> pb.TaskRequest:
    """Mostly short, sometimes failing, stubborn, locked, held or under a key; what is long may not move."""
    if rng.random() < 0.1:
        return _keyed_task(rng)
    milliseconds = rng.choice([2, 20, 20, 200, 1000, 4000])
    exit_code = rng.choice([0, 0, 0, 1])
    argv = [rng.choice([b"sim", b"other"]), b"%d" % milliseconds, b"%d" % exit_code]
    if rng.random() < 0.1:
        argv.append(b"stubborn")
    spec = types_pb2.TaskSpec(
        type=types_pb2.TASK_TYPE_SHELL,
        argv=argv,
        kill_timeout_ms=rng.choice([100, 1000]),
        timeout_ms=rng.choice([0, 0, 0, 2000]),
        on_lost=rng.choice([types_pb2.ON_LOST_REQUEUE] * 9 + [types_pb2.ON_LOST_HOLD]),
        retry=types_pb2.RetryPolicy(
            max_retries=rng.choice([0, 1, 3]), backoff_ms=200, backoff_multiplier=2, retryable=milliseconds < 4000
        ),
    )
    if rng.random() < 0.1:
        spec.locks.append(rng.choice(["red", "green"]))
    return pb.TaskRequest(name="sim", priority=rng.randint(0, 10), spec=spec)


def _keyed_task(rng: random.Random) -> pb.TaskRequest:
    """One of a few submissions under keys; now and then something else under the same key."""
    spec = types_pb2.TaskSpec(argv=[b"sim", b"20", b"0"], kill_timeout_ms=1000)
    return pb.TaskRequest(submit_key=f"key{rng.randint(1, 30)}", spec=spec, priority=int(rng.random() < 0.1))
