"""Settings of leases and heartbeats: what goes together, and what a lowered lease leaves in force."""

from __future__ import annotations

import pytest

from cortex.v1 import types_pb2
from cortex.v1.cluster_pb2 import TaskRequest
from cortex.v1.log_pb2 import Command, SettingsChange
from cortex.v1.types_pb2 import TaskSpec
from node.core import settings, validate
from node.core.faults import Code, Fault
from tests.core.cluster import Machine, cluster


def put(m: Machine, name: str, value: int, after_us: int = 1000) -> str:
    """Code of the refusal; empty when it is set."""
    command = Command(settings_change=SettingsChange(name=name, value=str(value)))
    return str(m.one(command, after_us=after_us).code)


def longest_ms(m: Machine) -> int:
    return settings.longest_lease_ms(m.state.settings.get("lease_ms"), 30_000, m.now_us)


@pytest.mark.parametrize(
    ("name", "value"), [("lease_ms", 19_999), ("renew_ms", 15_001), ("heartbeat_ms", 5_001), ("offline_ms", 9_999)]
)
def test_what_does_not_go_together_is_refused(name: str, value: int) -> None:
    m = cluster()
    assert put(m, name, value) == Code.INVALID
    assert not m.state.settings


def test_all_may_be_lowered_one_by_one() -> None:
    m = cluster()
    for name, value in (("renew_ms", 1_000), ("lease_ms", 6_000), ("heartbeat_ms", 1_000), ("suspect_ms", 2_000)):
        assert put(m, name, value) == ""
    assert put(m, "offline_ms", 2_000) == ""


def test_a_lowered_lease_stays_in_force_until_the_last_long_one_has_ended() -> None:
    m = cluster()
    put(m, "renew_ms", 1_000)
    assert put(m, "lease_ms", 60_000) == ""
    assert longest_ms(m) == 60_000
    put(m, "lease_ms", 20_000)
    put(m, "lease_ms", 6_000)
    assert longest_ms(m) == 60_000, "those of the first value may still run"
    put(m, "max_queue_depth", 5, after_us=59_999_000)
    assert longest_ms(m) == 60_000
    put(m, "max_queue_depth", 6, after_us=1_000)
    assert longest_ms(m) == 6_000


def test_a_recovery_epoch_is_no_setting_of_operators() -> None:
    assert put(cluster(), "recovery_epoch", 1) == Code.INVALID


def test_a_command_has_a_third_of_the_lease_to_end() -> None:
    request = TaskRequest(spec=TaskSpec(shell_command=b"true"))
    assert validate.complete(request, "t1").spec.kill_timeout_ms == 5_000
    assert validate.complete(request, "t1", lease_ms=6_000).spec.kill_timeout_ms == 2_000
    request.spec.kill_timeout_ms = 2_001
    with pytest.raises(Fault, match="kill_timeout_ms is 2001, it goes from 1 to 2000"):
        validate.complete(request, "t1", lease_ms=6_000)
    request.spec.on_lost, request.spec.wait_ms = types_pb2.ON_LOST_WAIT, 6_003
    assert validate.complete(request, "t1", lease_ms=6_000).spec.kill_timeout_ms == 2_001


def test_silence_has_a_limit_by_default() -> None:
    spec = validate.complete(TaskRequest(spec=TaskSpec(shell_command=b"true")), "t1").spec
    assert (spec.stall_after_ms, spec.idle_timeout_ms) == (7_200_000, 0)
    given = TaskSpec(shell_command=b"true", stall_after_ms=0, idle_timeout_ms=5)
    spec = validate.complete(TaskRequest(spec=given), "t1").spec
    assert (spec.stall_after_ms, spec.idle_timeout_ms) == (0, 5)
    agent = TaskSpec(type=types_pb2.TASK_TYPE_SUBAGENT, payload=b'{"prompt": "x"}')
    assert validate.complete(TaskRequest(spec=agent), "t1").spec.idle_timeout_ms == 600_000
