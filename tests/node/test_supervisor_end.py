"""How a real supervisor ends commands: stop, timeout, lease, and families that hide."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cortex.v1.types_pb2 import Cause
from node.worker.port import AttemptKey, AttemptResult, Lease, Returned, SpawnOrder, Started, StopOrder
from tests.gate import gate_in, opened
from tests.node.supervisor_kit import Watched, alive, boot_us, family, state_of, supervised, until, zombies

CANCEL = Cause.CAUSE_CANCEL
DEAF = "trap '' TERM; echo up; while :; do sleep 0.05; done"
UNIMPRESSED = "trap 'echo told' TERM; echo up; while :; do sleep 0.05; done"


@pytest.fixture
async def watched(tmp_path: Path) -> AsyncIterator[Watched]:
    async with supervised(tmp_path) as each:
        yield each


async def begin(watched: Watched, *argv: str, **changes: object) -> SpawnOrder:
    """Start a command that says `up` when it is ready."""
    order = watched.order(*argv, **changes)
    watched.port.spawn([order])
    await watched.says(order, b"up\n")
    return order


async def stop(watched: Watched, order: SpawnOrder, kill_timeout_us: int = 5_000_000) -> AttemptResult:
    watched.port.stop([StopOrder(order.key, CANCEL, kill_timeout_us)])
    return await watched.result(order.key)


def members(watched: Watched) -> list[int]:
    return [pid for pid in family(watched.port.pid) if alive(pid)]


async def test_stop_sends_term_to_the_group(watched: Watched) -> None:
    order = await begin(watched, "sh", "-c", "sleep 100 & echo up; wait")
    result = await stop(watched, order)
    assert (result.cause, result.signal) == (CANCEL, signal.SIGTERM)
    assert members(watched) == []


async def test_stop_kills_what_ignores_term(watched: Watched) -> None:
    order = await begin(watched, "sh", "-c", DEAF)
    result = await stop(watched, order, 200_000)
    assert (result.cause, result.signal) == (CANCEL, signal.SIGKILL)
    assert result.wall_us >= 200_000


async def test_success_after_term_is_success(watched: Watched) -> None:
    order = await begin(watched, "sh", "-c", "trap 'exit 0' TERM; echo up; while :; do sleep 0.05; done")
    result = await stop(watched, order)
    assert (result.cause, result.exit_code) == (0, 0)


async def test_exit_code_after_term_is_the_terms_cause(watched: Watched) -> None:
    order = await begin(watched, "sh", "-c", "trap 'exit 9' TERM; echo up; while :; do sleep 0.05; done")
    result = await stop(watched, order)
    assert (result.cause, result.exit_code) == (CANCEL, 9)


async def test_the_first_cause_stays(watched: Watched) -> None:
    order = await begin(watched, "sh", "-c", UNIMPRESSED)
    watched.port.stop([StopOrder(order.key, Cause.CAUSE_MIGRATE, 600_000_000)])
    await watched.says(order, b"told\n")
    result = await stop(watched, order, 100_000)
    assert (result.cause, result.signal) == (Cause.CAUSE_MIGRATE, signal.SIGKILL)


async def test_timeout(watched: Watched) -> None:
    result = await watched.run("sleep", "100", timeout_us=200_000)
    assert (result.cause, result.signal) == (Cause.CAUSE_TIMEOUT, signal.SIGTERM)
    assert result.wall_us >= 200_000


async def test_timeout_of_a_stopped_process(watched: Watched) -> None:
    result = await watched.run("sh", "-c", "kill -STOP $$; echo went on", timeout_us=1_000_000)
    assert (result.cause, result.signal) == (Cause.CAUSE_TIMEOUT, signal.SIGTERM)
    assert result.stdout.head == b""


async def test_stop_of_what_waits_returns_it(tmp_path: Path) -> None:
    async with supervised(tmp_path, slots=1) as watched:
        order = await begin(watched, "sh", "-c", "echo up; exec sleep 100")
        waiting = [watched.order("true") for _ in range(3)]
        watched.port.spawn(waiting)
        watched.port.recall([waiting[0].key, order.key, AttemptKey("unknown", 1)])
        watched.port.stop([StopOrder(waiting[1].key, CANCEL, 0)])
        for key, never_started in (
            (waiting[0].key, True),
            (order.key, False),
            (AttemptKey("unknown", 1), False),
            (waiting[1].key, True),
        ):
            assert (await watched.wait(lambda key=key: watched.of(Returned, key))).never_started is never_started  # type: ignore[misc]
        await stop(watched, order)
        assert (await watched.result(waiting[2].key)).cause == 0
        assert all(watched.of(Returned, each.key) is None for each in waiting[2:])


async def test_background_children_end_with_their_command(watched: Watched) -> None:
    result = await watched.run("sh", "-c", "sleep 100 & sleep 100 & exit 0")
    assert result.cause == 0
    assert members(watched) == []
    assert zombies(watched.port.pid) == []


async def test_daemons_end_with_their_command(watched: Watched) -> None:
    script = "setsid sh -c 'sleep 100 & exec sleep 101' >/dev/null 2>&1 & sleep 0.2; exit 4"
    result = await watched.run("sh", "-c", script)
    assert (result.cause, result.exit_code) == (Cause.CAUSE_EXIT, 4)
    assert members(watched) == []
    assert zombies(watched.port.pid) == []


async def test_stop_reaches_daemons(watched: Watched) -> None:
    script = "setsid sh -c 'sleep 100' & (setsid sleep 101 &) ; echo up; wait"
    order = await begin(watched, "sh", "-c", script)
    assert len(members(watched)) >= 3
    result = await stop(watched, order)
    assert result.cause == CANCEL
    assert members(watched) == []


async def test_a_deaf_daemon_is_killed(watched: Watched) -> None:
    script = f'setsid sh -c "{DEAF}" & sleep 0.2; exit 0'
    result = await watched.run("sh", "-c", script, kill_timeout_us=300_000)
    assert result.cause == 0
    assert members(watched) == []


async def test_a_nameless_daemon_ends_with_the_last_that_may_own_it(watched: Watched) -> None:
    other = await begin(watched, "sh", "-c", "echo up; exec sleep 100")
    pidfile = watched.data / "hidden"
    hides = f"env -i setsid sh -c 'echo $$ > \"$0\"; exec sleep 102' {pidfile} >/dev/null 2>&1"
    result = await watched.run("sh", "-c", f"{hides} & until test -s {pidfile}; do sleep 0.01; done")
    assert result.cause == 0
    pid = int(pidfile.read_text())
    assert alive(pid)  # the other command may have started it
    await stop(watched, other)
    await until(lambda: not alive(pid))


async def test_another_commands_daemon_is_left_alone(watched: Watched) -> None:
    other = await begin(watched, "sh", "-c", "(setsid sleep 103 &); sleep 0.1; echo up; exec sleep 100")
    before = members(watched)
    await watched.run("sh", "-c", "(setsid sleep 104 &); exit 0")
    assert members(watched) == before
    await stop(watched, other)
    assert members(watched) == []


async def test_fork_bomb_is_ended(watched: Watched) -> None:
    script = "echo up; f() { [ $1 -gt 8 ] || { f $(($1 + 1)) & f $(($1 + 1)); }; sleep 100; }; f 1"
    order = await begin(watched, "sh", "-c", script)
    await until(lambda: len(members(watched)) > 20)
    result = await stop(watched, order, 100_000)
    assert result.cause == CANCEL
    assert members(watched) == []


async def test_lease_ends_a_command(watched: Watched) -> None:
    order = await begin(watched, "sh", "-c", "echo up; exec sleep 100", kill_timeout_us=600_000_000)
    watched.port.renew({order.key: Lease(boot_us() + 600_100_000)})
    result = await watched.result(order.key)
    assert (result.cause, result.signal) == (Cause.CAUSE_LEASE, signal.SIGTERM)


async def test_lease_end_kills_what_ignores_term(watched: Watched) -> None:
    order = await begin(watched, "sh", "-c", DEAF, kill_timeout_us=500_000)
    watched.port.renew({order.key: Lease(boot_us() + 700_000)})
    result = await watched.result(order.key)
    assert (result.cause, result.signal) == (Cause.CAUSE_LEASE, signal.SIGKILL)


async def test_a_later_kill_timeout_cannot_outlast_the_lease(watched: Watched) -> None:
    order = await begin(watched, "sh", "-c", DEAF, kill_timeout_us=0)
    # Both are read in one turn, so that the lease does not end before the stop.
    watched.port.renew({order.key: Lease(boot_us() + 2_000_000)})
    watched.port.stop([StopOrder(order.key, CANCEL, 600_000_000)])
    result = await watched.result(order.key)
    assert (result.cause, result.signal) == (CANCEL, signal.SIGKILL)


async def test_renewal_lets_it_run_on(watched: Watched) -> None:
    gate = gate_in(watched.data)
    order = watched.order("sh", "-c", f": <{gate}; echo done", kill_timeout_us=0)
    watched.port.spawn([order])
    await watched.started(order.key)
    # Both are read in one turn.
    end_us = boot_us() + 1_000_000
    watched.port.renew({order.key: Lease(end_us)})
    watched.port.renew({order.key: Lease(boot_us() + 300_000_000)})
    await until(lambda: boot_us() > end_us)
    with opened(gate):
        result = await watched.result(order.key)
    assert (result.cause, result.stdout.head) == (0, b"done\n")


async def test_too_little_lease_starts_nothing_until_it_is_renewed(watched: Watched) -> None:
    late = watched.order("true", lease_end_us=boot_us() + 1_500_000, kill_timeout_us=1_000_000)
    none = watched.order("true", lease_end_us=0)
    watched.port.spawn([late, none])
    assert (await watched.run("true")).cause == 0
    assert watched.of(Started, late.key) is None
    assert watched.of(Started, none.key) is None
    watched.port.renew({each.key: Lease(boot_us() + 60_000_000) for each in (late, none)})
    assert (await watched.result(late.key)).cause == 0
    assert (await watched.result(none.key)).cause == 0


async def test_lease_ends_while_the_daemon_is_gone(tmp_path: Path) -> None:
    async with supervised(tmp_path) as watched:
        order = await begin(watched, "sh", "-c", "echo up; exec sleep 100", kill_timeout_us=500_000)
        pid = (await watched.started(order.key)).pid
        watched.port.renew({order.key: Lease(boot_us() + 1_000_000)})
        await watched.port.close()
        await until(lambda: not state_of(pid))
        again = Watched(tmp_path)
        connected = await again.start()
        assert [(held.key, held.result and held.result.cause) for held in connected.attempts] == [
            (order.key, Cause.CAUSE_LEASE)
        ]
        await again.port.close()


async def test_quit_ends_all_and_the_next_supervisor_knows_how(tmp_path: Path) -> None:
    async with supervised(tmp_path) as watched:
        order = await begin(watched, "sh", "-c", "echo up; exec sleep 100")
        waiting = watched.order("true", lease_end_us=0)
        watched.port.spawn([waiting])
        pid = watched.port.pid
        await watched.port.quit()
        assert state_of(pid) == ""
        assert not (tmp_path / "supervisor.pid").exists()
        again = Watched(tmp_path)
        connected = await again.start()
        (held,) = connected.attempts
        assert held.key == order.key
        assert held.result is not None
        assert held.result.cause == Cause.CAUSE_MIGRATE
        await again.port.quit()


async def test_terminate_signal_is_quit_and_the_second_kills(tmp_path: Path) -> None:
    async with supervised(tmp_path) as watched:
        order = await begin(watched, "sh", "-c", UNIMPRESSED, kill_timeout_us=600_000_000)
        pid = watched.port.pid
        os.kill(pid, signal.SIGTERM)
        await watched.says(order, b"told\n")
        assert alive(pid)
        os.kill(pid, signal.SIGTERM)
        result = await watched.result(order.key)
        assert (result.cause, result.signal) == (Cause.CAUSE_MIGRATE, signal.SIGKILL)
        await until(lambda: not alive(pid))


async def test_forget_ends_what_runs_without_a_result(watched: Watched) -> None:
    order = await begin(watched, "sh", "-c", "echo up; exec sleep 100")
    pid = (await watched.started(order.key)).pid
    watched.port.forget([order.key])
    await until(lambda: not state_of(pid))
    await watched.port.close()
    again = Watched(watched.data)
    assert (await again.start()).attempts == []
    await again.port.close()
