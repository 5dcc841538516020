"""max_queue_depth bounds every way in, by the setting or by the profile in force."""

from __future__ import annotations

import pytest

from cortex.v1.log_pb2 import Command, SettingsChange
from node.core.faults import Code
from tests.core.cluster import Machine, cluster
from tests.core.operating import run_on


def setting(m: Machine, name: str, value: str) -> None:
    assert m.one(Command(settings_change=SettingsChange(name=name, value=value))).accepted


def test_a_run_on_nodes_is_a_submission() -> None:
    m = cluster(nodes=2)
    setting(m, "max_queue_depth", "1")
    reply = m.one(run_on("n1", "n2"))
    assert reply.code == Code.QUEUE_FULL
    assert reply.message.startswith("0 tasks have not ended and 2 more would pass max_queue_depth, which is 1.")
    assert not m.state.tasks


@pytest.mark.parametrize(("profile", "limit"), [("orchestrator", 1_000), ("resources", 1_000_000)])
def test_the_profile_says_how_deep_the_queue_may_be(profile: str, limit: int) -> None:
    m = cluster()
    setting(m, "profile", profile)
    submits = [Command(task_submit=m.submission()) for _ in range(1001)]
    reply = m.apply(*submits)
    accepted = limit > 1000
    assert {one.accepted for one in reply.commands} == {accepted}
    if not accepted:
        assert reply.commands[0].message.endswith("1001 more would pass max_queue_depth, which is 1000.")
        assert len(m.apply(*submits[:1000]).commands) == len(m.state.tasks) == 1000
