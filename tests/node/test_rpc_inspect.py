"""InspectNode and BenchNode: answered by the node that is meant, whichever daemon is asked."""

from __future__ import annotations

from collections.abc import Callable, Collection
from types import SimpleNamespace
from typing import Any

import pytest
from google.protobuf.message import Message

from cortex.v1 import cluster_pb2 as pb
from cortex.v1 import types_pb2 as t
from node.core.faults import Code, Fault
from node.link import Caller, LinkClosed
from node.rpc.inspect import Inspector
from node.worker.port import AttemptKey

CALLER = Caller("test")


class FakeGauge:
    """A machine with one task."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.benched = 0

    def follow(self, running: Callable[[], Collection[AttemptKey]]) -> None: ...

    def latest(self) -> t.Resources:
        return t.Resources(cores=len(self.name))

    def uses(self) -> list[t.TaskUse]:
        return [t.TaskUse(task=f"of-{self.name}")]

    def use_of(self, key: AttemptKey) -> t.TaskUse | None:
        return None

    def history(self, span_us: int, points: int) -> tuple[list[t.Series], int, int]:
        return [t.Series(name="cpu", values=[1.0] * points)], span_us // points, 99

    async def bench(self) -> t.Benchmark:
        self.benched += 1
        return t.Benchmark(cores=self.benched)


class Daemons:
    """Inspectors by address; one that is `away` does not answer."""

    def __init__(self, *names: str) -> None:
        nodes = {name: t.Node(id=name, hostname=f"{name}.local", address=name) for name in names}
        replica = SimpleNamespace(state=SimpleNamespace(nodes=nodes))
        self.away: set[str] = set()
        self.asked: list[tuple[str, Message, float, int]] = []
        self.inspectors = {
            name: Inspector(
                name,
                FakeGauge(name),
                self,  # type: ignore[arg-type]
                (lambda: replica) if name != "worker" else (lambda: None),  # type: ignore[arg-type, return-value]
                lambda node_id: nodes[node_id].address,
            )
            for name in names
        }

    async def call(self, address: str, method: str, request: Message, timeout_s: float, caller: Caller) -> Message:
        self.asked.append((address, request, timeout_s, caller.hops))
        if address in self.away:
            raise LinkClosed(address)
        return await self.inspectors[address].call(method, request, caller)


async def inspect(daemons: Daemons, at: str, node: str, **fields: Any) -> pb.InspectNodeReply:
    reply = await daemons.inspectors[at].call("InspectNode", pb.InspectNodeRequest(node=node, **fields), CALLER)
    assert isinstance(reply, pb.InspectNodeReply)
    return reply


async def test_the_node_itself_answers_whoever_is_asked() -> None:
    daemons = Daemons("n1", "worker")
    for name in ("worker", "worker.local", "work"):
        reply = await inspect(daemons, "n1", name, span_us=600, points=3)
        assert (reply.node, reply.tasks[0].task, reply.resources.cores) == ("worker", "of-worker", 6)
        assert (list(reply.history[0].values), reply.step_us, reply.until_us) == ([1, 1, 1], 200, 99)
    assert [(address, hops) for address, _, _, hops in daemons.asked] == [("worker", 1)] * 3
    here = await inspect(daemons, "n1", "n1")
    assert (here.node, list(here.history)) == ("n1", [])
    assert len(daemons.asked) == 3


async def test_a_benchmark_is_made_there_and_has_time() -> None:
    daemons = Daemons("n1", "n2")
    for count in (1, 2):
        reply = await daemons.inspectors["n1"].call("BenchNode", pb.BenchNodeRequest(node="n2"), CALLER)
        assert reply == pb.BenchNodeReply(node="n2", benchmark=t.Benchmark(cores=count))
    assert daemons.asked[0][2] > 60


def test_a_daemon_that_keeps_no_log_answers_for_itself_alone() -> None:
    worker = Daemons("worker").inspectors["worker"]
    assert not worker.answers(pb.InspectNodeRequest(node="n1"))
    assert worker.answers(pb.InspectNodeRequest(local=True))
    assert worker.answers(pb.BenchNodeRequest(local=True))
    assert not worker.answers(pb.StatusRequest())


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"node": "n2"}, Code.WRONG_STATE),
        ({"node": "n7"}, Code.NOT_FOUND),
        ({"node": "n1", "span_us": -1}, Code.INVALID),
        ({"node": "n1", "span_us": 86_400_000_001}, Code.INVALID),
        ({"node": "n1", "points": 1441}, Code.INVALID),
    ],
)
async def test_refusals_say_what_to_do(fields: dict[str, Any], code: Code) -> None:
    daemons = Daemons("n1", "n2")
    daemons.away.add("n2")
    with pytest.raises(Fault) as refused:
        await inspect(daemons, "n1", **fields)
    assert refused.value.code == code
    assert refused.value.remedy


async def test_a_machine_that_measures_nothing_says_so() -> None:
    bare = Inspector("sim", None, Daemons(), lambda: None, lambda _: None)  # type: ignore[arg-type]
    with pytest.raises(Fault) as refused:
        await bare.call("InspectNode", pb.InspectNodeRequest(local=True), CALLER)
    assert refused.value.code == Code.UNSUPPORTED
