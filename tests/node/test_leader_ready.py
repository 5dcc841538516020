"""What a leader makes of a worker's word that a service is ready."""

from __future__ import annotations

from random import Random

from cortex.v1 import cluster_pb2 as pb
from cortex.v1 import types_pb2 as t
from cortex.v1 import worker_pb2 as w
from node.core import validate
from node.leader.ends import Translator
from tests.node.fake_replica import FakeReplica
from tests.node.leader_kit import Cluster, assignments, machine_node, started, virtual


def told(*values: str) -> w.Report:
    endpoints = [t.Endpoint(name="web", value=value) for value in values]
    return w.Report(ready=w.Ready(task="t1", fence=7, endpoints=endpoints, ready_at_us=5))


def test_what_the_log_knows_is_not_written_again() -> None:
    translator = Translator(Random(0), FakeReplica())
    task = t.Task(id="t1", fence=7, state=t.TASK_STATE_RUNNING)
    (command,) = translator.commands(task, told("h:80", "forged\n"))
    assert (command.task_ready.id, command.task_ready.fence) == ("t1", 7)
    task.ready_at_us = 6
    task.endpoints.add(name="web", value="h:80")
    assert translator.commands(task, told("h:80", "forged\n")) == []
    (command,) = translator.commands(task, told("h:81"))
    assert [one.value for one in command.task_ready.endpoints] == ["h:81"]


def test_where_a_service_was_told_to_be_last_is_where_it_is() -> None:
    """Begun again it tells another place, and a daemon that begins again repeats both."""

    async def main() -> None:
        cluster = Cluster().begin()
        node = machine_node("n1")
        node.slots.add(type=t.TASK_TYPE_SERVICE, count=1)
        worker = await cluster.connect(node)
        spec = t.TaskSpec(type=t.TASK_TYPE_SERVICE, argv=[b"serve"])
        await cluster.submit(validate.complete(pb.TaskRequest(spec=spec), "t1"))
        (given,) = await assignments(worker, 1)
        places = [told("h:80"), told("h:81")]
        for report in places:
            report.ready.fence = given.fence
        for number, reports in enumerate(([started(given), *places], places), 1):
            await worker.report(number, *reports)
            await worker.next("reports_ack")
            task = cluster.replica.task("t1")
            assert task is not None
            assert [one.value for one in task.endpoints] == ["h:81"]
        await cluster.stop()

    virtual(main)
