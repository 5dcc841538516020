"""What a leader makes of a worker's word that a service is ready."""

from __future__ import annotations

from random import Random

from cortex.v1 import types_pb2 as t
from cortex.v1 import worker_pb2 as w
from node.leader.ends import Translator
from tests.node.fake_replica import FakeReplica


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
