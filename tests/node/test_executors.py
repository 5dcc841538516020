"""Executors by name, and what their drivers are given and tell."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from cortex.v1 import worker_pb2 as w
from cortex.v1.types_pb2 import Cause, Node, TaskSpec, TaskType
from node.cli import cli
from node.core.faults import Fault
from node.drivers.kit import Desk
from node.events import LIMIT_BYTES
from node.worker.drivers import Drivers
from node.worker.executors import registry
from node.worker.executors.port import Offer, Setup
from node.worker.executors.registry import Found
from node.worker.port import AttemptKey
from tests.node.fake_replica import VirtualClock

KEY = AttemptKey("t1", 7)
SERVICE = w.Assignment(task="t1", fence=7, spec=TaskSpec(type=TaskType.TASK_TYPE_SERVICE))


class Mute:
    """An executor of somebody else."""

    type = TaskType.TASK_TYPE_CONTAINER

    def __init__(self, setup: Setup) -> None:
        if "broken" in setup.options:
            raise RuntimeError("no engine")

    def probe(self) -> Offer:
        raise OSError("the socket is gone")


@pytest.fixture
def entries(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Entry points as they are installed, but for these."""

    def entry(name: str, made: object, dist: str) -> Any:
        return SimpleNamespace(name=name, value="x:y", load=lambda: made, dist=SimpleNamespace(name=dist))

    found = [
        entry("mute", Mute, "other"),
        entry("noop", Mute, registry.OURS),
        entry("noop", lambda setup: "theirs", "other"),
    ]
    monkeypatch.setattr(registry, "entry_points", lambda group: [one for one in found if group == registry.GROUP])
    return {one.name: one for one in found}


def test_settings_are_checked_without_trying_anything(tmp_path: Path, entries: dict[str, Any]) -> None:
    def setups(name: str) -> Setup:
        return Setup(tmp_path, options={"broken": "yes"} if name == "mute" else {})

    registry.check((), setups, ("noop",))
    registry.check(("noop",), setups, ("mute",))  # as the daemon, which is told to leave it out
    for names, set_up, words in (
        ((), ("mute",), "mute of other does not load: RuntimeError: no engine"),
        (("mute",), (), "mute of other does not load"),
        ((), ("mute_", "noop"), "There is no executor 'mute_'"),
    ):
        with pytest.raises(Fault, match=words):
            registry.check(names, setups, set_up)


def test_the_command_that_shows_a_configuration_checks_that_of_executors() -> None:
    flags = {"id": "n1", "data": "/var/lib/x", "listen": "127.0.0.1:7001", "join": "127.0.0.1:7002"}
    words = ["config", *(word for name, value in flags.items() for word in (f"--{name}", value))]
    done = CliRunner().invoke(cli, words, env={"CORTEX_EXECUTOR": '{"shell": {"pids": 64}}'})
    assert (done.exit_code, json.loads(done.output)["executor"]) == (0, {"shell": {"pids": 64}})
    done = CliRunner().invoke(cli, words, env={"CORTEX_EXECUTOR": '{"shell": {"pid": 64}}'})
    assert isinstance(done.exception, Fault)
    assert "Setting pid of [executor.shell]" in done.exception.message


def test_what_is_installed_is_found_by_name(tmp_path: Path) -> None:
    assert {"shell", "noop"} <= set(registry.found_names())
    assert registry.load("shell", Setup(tmp_path)).type == TaskType.TASK_TYPE_SHELL


def test_an_unknown_name_names_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(Fault, match="no executor 'shel'") as refused:
        registry.load("shel", Setup(tmp_path))
    assert "shell" in refused.value.remedy


def test_another_distribution_stands_for_ours(entries: dict[str, Any], tmp_path: Path) -> None:
    assert registry.load("noop", Setup(tmp_path)) == "theirs"


def test_one_that_does_not_load_ends_only_a_daemon_that_names_it(entries: dict[str, Any], tmp_path: Path) -> None:
    def broken(name: str) -> Setup:
        return Setup(tmp_path, options={"broken": True})

    with pytest.raises(Fault, match="mute of other does not load: RuntimeError: no engine"):
        registry.load_all(["mute"], broken)


def test_settings_of_an_executor_are_not_passed_over(entries: dict[str, Any], tmp_path: Path) -> None:
    def setups(name: str) -> Setup:
        return Setup(tmp_path, options={"broken": True} if name == "mute" else {})

    assert [one.executor for one in registry.load_all([], setups)] == ["theirs"]
    with pytest.raises(Fault, match="no engine"):
        registry.load_all([], setups, {"mute"})
    with pytest.raises(Fault, match="no executor 'contaner'"):
        registry.load_all([], setups, {"contaner"})


def test_one_that_breaks_while_it_is_tried_is_not_offered(entries: dict[str, Any], tmp_path: Path) -> None:
    (found,) = registry.load_all(["mute"], lambda name: Setup(tmp_path))
    assert not found.offer.available
    assert "the socket is gone" in found.offer.reason


def test_a_node_has_slots_of_what_it_offers_only() -> None:
    executors = [Mute(Setup(Path())), registry.load("noop", Setup(Path()))]
    found = [Found(executors[0], Offer(False, reason="No.")), Found(executors[1], Offer(True, "in here", slots=9))]
    node = Node()
    registry.describe(node, found, {})
    assert [(slot.type, slot.count) for slot in node.slots] == [(TaskType.TASK_TYPE_NOOP, 9)]
    assert [(one.available, one.detail, one.reason) for one in node.executors] == [
        (False, "", "No."),
        (True, "in here", ""),
    ]


@pytest.fixture
def drivers(tmp_path: Path) -> Drivers:
    return Drivers(tmp_path / "exchange", VirtualClock())


def desk(drivers: Drivers, order: bytes = b"{}") -> Desk:
    found = drivers.prepare(KEY, order)
    drivers.follow(KEY, SERVICE)
    return Desk({os.fsdecode(name): os.fsdecode(value) for name, value in found.items()})


def ended(cause: Cause.ValueType = Cause.CAUSE_EXIT) -> w.Ended:
    return w.Ended(task="t1", fence=7, cause=cause, error="The command ended with exit code 1.")


def test_a_driver_finds_its_order_and_nobody_else_can_read_it(drivers: Drivers, tmp_path: Path) -> None:
    assert desk(drivers, b'{"prompt": "x"}').order() == {"prompt": "x"}
    (order,) = (tmp_path / "exchange").glob("*/order.json")
    assert order.stat().st_mode & 0o077 == 0


async def test_what_it_tells_is_told_once(drivers: Drivers) -> None:
    driver = desk(drivers)
    driver.ready({"web": "127.0.0.1:80"})
    driver.progress(1, 10, "first")
    driver.progress(2, 10, "second")
    (report,) = drivers.look()
    assert [(one.name, one.value) for one in report.ready.endpoints] == [("web", "127.0.0.1:80")]
    (step,) = drivers.take_progress()
    assert (step.current, step.total, step.message) == (2, 10, "second")
    assert (drivers.look(), drivers.take_progress()) == ([], [])


async def test_what_it_told_just_before_its_end_is_not_lost(drivers: Drivers) -> None:
    driver = desk(drivers)
    driver.ready({"web": "127.0.0.1:80"})
    (report,) = drivers.leave(KEY)
    assert report.ready.endpoints[0].value == "127.0.0.1:80"
    assert drivers.leave(KEY) == []


async def test_what_it_tells_for_months_takes_a_bounded_file(drivers: Drivers, tmp_path: Path) -> None:
    driver = desk(drivers)
    driver.ready({"web": "127.0.0.1:80"})
    reports: list[w.Report] = []
    for number in range(12_000):
        driver.progress(number, message="x" * 200)
        if number % 1000 == 999:
            reports += drivers.look()
    (folder,) = (tmp_path / "exchange").iterdir()
    assert (folder / "events.jsonl").stat().st_size <= LIMIT_BYTES
    while not (steps := drivers.take_progress()) or steps[-1].current < 11_999:
        reports += drivers.look()
    assert {report.ready.endpoints[0].value for report in reports} == {"127.0.0.1:80"}


async def test_garbage_among_its_events_is_passed_over(drivers: Drivers, tmp_path: Path) -> None:
    driver = desk(drivers)
    (folder,) = (tmp_path / "exchange").iterdir()
    with (folder / "events.jsonl").open("ab") as file:
        file.write(b'\xff\xfe\n[1]\n{"progress": 3}\n{"progress": {"current": "x", "total": -1}}\n')
        file.write(b"{" * 70_000 + b"\n")
    driver.progress(5)
    steps: list[int] = []
    for _ in range(3):
        assert drivers.look() == []
        steps += [step.current for step in drivers.take_progress()]
    assert steps == [0, 5]


@pytest.mark.parametrize(
    ("cause", "wanted"), [("rate_limited", Cause.CAUSE_RATE_LIMITED), ("not_found", Cause.CAUSE_NOT_FOUND)]
)
def test_its_verdict_stands_for_its_exit_code(drivers: Drivers, cause: str, wanted: Cause.ValueType) -> None:
    desk(drivers).verdict(cause, "Come back later.", retry_after_ms=1500, document={"a": 1})
    end = ended()
    drivers.judge(KEY, end)
    assert (end.cause, end.error, end.retry_after_ms) == (wanted, "Come back later.", 1500)
    assert json.loads(end.result.document) == {"a": 1}


@pytest.mark.parametrize("cause", [Cause.CAUSE_CANCEL, Cause.CAUSE_SIGNAL, Cause.CAUSE_TIMEOUT])
def test_what_the_supervisor_saw_stands_against_a_verdict(drivers: Drivers, cause: Cause.ValueType) -> None:
    desk(drivers).verdict("rate_limited", "Come back later.")
    end = ended(cause)
    drivers.judge(KEY, end)
    assert end == ended(cause)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"cause": 5}', '{"retry_after_ms": "soon"}', '{"document": NaN}'])
def test_a_verdict_that_says_nothing_changes_nothing(drivers: Drivers, tmp_path: Path, text: str) -> None:
    desk(drivers)
    (folder,) = (tmp_path / "exchange").iterdir()
    (folder / "verdict.json").write_text(text)
    end = ended()
    drivers.judge(KEY, end)
    assert end == ended()


@pytest.mark.parametrize(
    ("said", "wait_ms"), [("NaN", 0), ("-Infinity", 0), ("1e999", 86_400_000), ("-5", 0), ("1.5", 1)]
)
async def test_what_no_message_can_hold_is_no_reason_to_fail(
    drivers: Drivers, tmp_path: Path, said: str, wait_ms: int
) -> None:
    driver = desk(drivers)
    driver.progress(1, message="half a \ud83d")
    driver.ready({"web\udc80": "\udfff"})
    (report,) = drivers.look()
    assert [(one.name, one.value) for one in report.ready.endpoints] == [("web?", "?")]
    assert [step.message for step in drivers.take_progress()] == ["half a ?"]
    (folder,) = (tmp_path / "exchange").iterdir()
    text = f'{{"cause": "rate_limited", "error": "at \\ud83d", "retry_after_ms": {said}}}'
    (folder / "verdict.json").write_text(text)
    end = ended()
    drivers.judge(KEY, end)
    assert (end.error, end.retry_after_ms) == ("at ?", wait_ms)


def test_its_folder_goes_with_the_last_verdict(drivers: Drivers, tmp_path: Path) -> None:
    desk(drivers)
    drivers.forget([KEY, AttemptKey("t2", 8)])
    assert not list((tmp_path / "exchange").iterdir())
