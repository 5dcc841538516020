"""What the model's API tells one agent holds for the others of its node, as long as it said and account."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cortex.v1.types_pb2 import Cause
from node.drivers.agent import holds
from node.worker.executors.port import CannotPrepare
from node.worker.executors.relay import RelayExecutor
from node.worker.executors.subagent import SubagentExecutor
from tests.node.agent_kit import Run, assignment, machine, setup, steps

NOW_S = 1_800_000_000.0
SAID = "The model's API limits how much may be asked of it: Slow down."
HELD = "An agent of its node was told so."


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    found = SimpleNamespace(now_s=NOW_S)
    monkeypatch.setattr(holds, "time", SimpleNamespace(time=lambda: found.now_s))
    return found


@pytest.fixture
def file(tmp_path: Path) -> str:
    return str(tmp_path / "hold.json")


def left_s(file: str) -> float:
    hold = holds.active(file)
    return hold.until_s - NOW_S if hold is not None else 0.0


async def test_what_one_agent_is_told_holds_for_the_others(tmp_path: Path) -> None:
    async with machine(tmp_path) as here:
        # Prepared while nothing is known: its driver looks, too.
        late = here.order(here.subagent, {"prompt": steps(f"make {tmp_path / 'asked'}")})
        first = await here.run({"prompt": steps("retry-after 3000")})
        here.watched.port.spawn([late])
        second = await here.end(late.key)
        with pytest.raises(CannotPrepare) as refused:
            here.order(here.subagent, {"prompt": "hello"})
        other = await here.run({"prompt": "hello", "model": "another"})
    assert (first.cause, first.ended.error, first.ended.retry_after_ms) == ("CAUSE_RATE_LIMITED", SAID, 3_000_000)
    held(second)
    assert not (tmp_path / "asked").exists(), "no agent was started"
    assert refused.value.cause == Cause.CAUSE_RATE_LIMITED
    assert 2_000_000 < refused.value.retry_after_ms <= 3_000_000
    assert str(refused.value) == f"{SAID} {HELD}"
    assert other.ended.cause == 0


async def test_only_the_agent_whose_login_was_refused_fails(tmp_path: Path) -> None:
    async with machine(tmp_path) as here:
        late = here.order(here.subagent, {"prompt": steps(f"make {tmp_path / 'asked'}")})
        first = await here.run({"prompt": steps("status 401 Invalid API key")})
        here.watched.port.spawn([late])
        second = await here.end(late.key)
    assert (first.cause, first.ended.retry_after_ms) == ("CAUSE_CANNOT_START", 0)
    assert (second.cause, second.ended.error) == ("CAUSE_INFRASTRUCTURE", f"{first.ended.error} {HELD}")
    assert 0 < second.ended.retry_after_ms <= 15_000
    assert not (tmp_path / "asked").exists(), "no agent was started"


def held(run: Run) -> None:
    assert run.cause == "CAUSE_RATE_LIMITED"
    assert run.ended.error == f"{SAID} {HELD}"
    assert 2_000_000 < run.ended.retry_after_ms <= 3_000_000


@pytest.mark.parametrize(("after_ms", "wait_s"), [(0, 10), (7_000, 7), (86_400_000, 3_600)])
def test_how_long_it_holds(file: str, clock: SimpleNamespace, after_ms: int, wait_s: float) -> None:
    holds.told(file, "rate_limited", SAID, after_ms)
    assert left_s(file) == wait_s
    clock.now_s += wait_s
    assert holds.active(file) is None


def test_a_busy_service_that_names_no_time_is_asked_less_and_less(file: str, clock: SimpleNamespace) -> None:
    waits = []
    for _ in range(9):
        holds.told(file, "rate_limited", SAID, 0)
        waits.append(left_s(file) + NOW_S - clock.now_s)
        clock.now_s += waits[-1]
    assert waits == [10, 20, 40, 80, 160, 320, 600, 600, 600]
    holds.answered(file)
    holds.told(file, "rate_limited", SAID, 0)
    assert left_s(file) + NOW_S - clock.now_s == 10


@pytest.mark.parametrize("cause", ["rate_limited", "cannot_start"])
def test_agents_that_asked_at_once_wait_once(file: str, clock: SimpleNamespace, cause: str) -> None:
    for wait_s in (15, 15) if cause == "cannot_start" else (10, 20):
        until_s = clock.now_s + wait_s
        for _ in range(5):
            holds.told(file, cause, SAID, 0)
            clock.now_s += 1
        assert left_s(file) + NOW_S == until_s
        clock.now_s = until_s


def test_a_time_that_is_named_while_another_holds_is_no_further_round(file: str, clock: SimpleNamespace) -> None:
    holds.told(file, "rate_limited", SAID, 0)
    holds.told(file, "rate_limited", SAID, 30_000)
    assert left_s(file) == 30
    clock.now_s += 30
    holds.told(file, "rate_limited", SAID, 0)
    assert left_s(file) == 50


def test_a_shorter_time_does_not_shorten_what_was_told(file: str, clock: SimpleNamespace) -> None:
    holds.told(file, "rate_limited", SAID, 60_000)
    holds.told(file, "rate_limited", SAID, 1_000)
    holds.answered(file)
    assert left_s(file) == 60


def test_a_clock_that_was_set_back_holds_nobody(file: str, clock: SimpleNamespace) -> None:
    holds.told(file, "rate_limited", SAID, 60_000)
    clock.now_s -= 86_400
    assert holds.active(file) is None


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"cause": "x"}', '{"until_s": NaN, "cause": "", "error": ""}', "\0"]
)
def test_a_file_that_says_nothing_holds_nobody(file: str, text: str) -> None:
    Path(file).write_text(text)
    assert holds.active(file) is None
    assert holds.active("") is None


def test_an_order_of_a_daemon_of_before_names_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    holds.told("", "rate_limited", SAID, 1000)
    holds.answered("")
    assert holds.active("") is None
    assert not list(tmp_path.iterdir())


def test_files_of_made_up_models_go(tmp_path: Path, clock: SimpleNamespace) -> None:
    for number in range(110):
        holds.told(str(tmp_path / f"{number}.json"), "rate_limited", SAID, 1)
    assert len(list(tmp_path.iterdir())) == 100


def test_a_refused_account_is_not_asked_again_at_once(tmp_path: Path, clock: SimpleNamespace) -> None:
    executor = SubagentExecutor(setup(tmp_path))
    hold = order_of(executor, {"prompt": "x"})["hold"]
    holds.told(hold, "cannot_start", "The account is no good.", 0)
    with pytest.raises(CannotPrepare, match=f"The account is no good. {HELD}") as refused:
        executor.prepare(assignment({"prompt": "y"}))
    assert (refused.value.cause, refused.value.retry_after_ms) == (Cause.CAUSE_INFRASTRUCTURE, 15_000)
    clock.now_s += 16
    executor.prepare(assignment({"prompt": "y"}))


def test_a_service_that_is_away_is_not_asked_before_its_time(tmp_path: Path, clock: SimpleNamespace) -> None:
    executor = SubagentExecutor(setup(tmp_path))
    holds.told(order_of(executor, {"prompt": "x"})["hold"], "infrastructure", "It is away.", 700)
    with pytest.raises(CannotPrepare) as refused:
        executor.prepare(assignment({"prompt": "y"}))
    assert (refused.value.cause, refused.value.retry_after_ms) == (Cause.CAUSE_INFRASTRUCTURE, 700)


def order_of(
    executor: SubagentExecutor | RelayExecutor,
    payload: dict[str, Any],
    env: dict[str, bytes] | None = None,
    cwd: str = "",
) -> dict[str, Any]:
    work = assignment(payload, cwd=cwd)
    for name, value in (env or {}).items():
        work.spec.env.add(name=name, value=value)
    found = json.loads(executor.prepare(work).order or b"")
    assert isinstance(found, dict)
    return found


def test_which_agents_have_one_account(tmp_path: Path) -> None:
    made = SubagentExecutor(setup(tmp_path))
    same = order_of(made, {"prompt": "x"})["hold"]
    assert order_of(made, {"prompt": "y", "max_turns": 3}, {"COLOUR": b"red"})["hold"] == same
    relay = RelayExecutor(setup(tmp_path))
    assert order_of(relay, {"session": "s", "message": "m"})["hold"] == same
    inbox = RelayExecutor(setup(tmp_path, inbox=str(tmp_path)))
    assert order_of(inbox, {"session": "s", "message": "m"})["hold"] == ""
    another = SubagentExecutor(setup(tmp_path, environment={"API_KEY": "secret:other"}))
    others = {
        order_of(made, {"prompt": "x", "model": "m"})["hold"],
        order_of(made, {"prompt": "x"}, {"API_KEY": b"k"})["hold"],
        order_of(made, {"prompt": "x"}, {"ANTHROPIC_BASE_URL": b"http://other"})["hold"],
        order_of(another, {"prompt": "x"})["hold"],
        # Where settings of a project, or a flag, may name another account.
        order_of(made, {"prompt": "x", "project_path": str(tmp_path)})["hold"],
        order_of(made, {"prompt": "x", "flags": ["--settings", "own.json"]})["hold"],
    }
    assert len(others | {same}) == 7
    there = {"session": "s", "message": "m", "project_path": str(tmp_path)}
    assert order_of(relay, there)["hold"] in others
    assert order_of(made, {"prompt": "x"}, cwd=str(tmp_path))["hold"] in others


def test_projects_and_flags_that_name_no_account_share_what_is_told(tmp_path: Path) -> None:
    made = SubagentExecutor(setup(tmp_path, command="/opt/claude"))
    folders = [tmp_path / name for name in ("bare", "plain", "helper", "again", "local", "torn", "own", "other")]
    for folder in folders:
        (folder / ".claude").mkdir(parents=True)
    bare, plain, helper, again, local, torn, own, other = folders
    for folder in (own, other):
        (folder / ".claude/settings.json").write_text('{"apiKeyHelper": "./key.sh"}')
    (plain / ".claude/settings.json").write_text('{"permissions": {"allow": ["Bash"]}, "hooks": {}}')
    (helper / ".claude/settings.json").write_text('{"apiKeyHelper": "/bin/key", "permissions": {}}')
    (again / ".claude/settings.json").write_text('{"apiKeyHelper": "/bin/key"}')
    (again / "below").mkdir()
    (local / ".claude/settings.local.json").write_text('{"env": {"ANTHROPIC_BASE_URL": "http://other"}}')
    (torn / ".claude/settings.json").write_text("{")

    def hold(folder: Path | None = None, *flags: str) -> str:
        payload = {"prompt": "x", "flags": flags, **({"project_path": str(folder)} if folder else {})}
        return str(order_of(made, payload)["hold"])

    assert hold() == hold(bare) == hold(plain) == hold(plain, "--add-dir", "/srv", "--debug")
    assert hold(helper) == hold(again) == hold(again / "below")
    assert hold(own) != hold(other)
    assert (
        len({hold(), hold(helper), hold(local), hold(torn), hold(None, "--debug", "--settings", "own.json")}) == 5
    )


def test_another_program_may_take_its_account_from_anywhere(tmp_path: Path) -> None:
    made = SubagentExecutor(setup(tmp_path, command="/opt/wrapper"))
    asked: list[dict[str, Any]] = [{}, {"project_path": str(tmp_path)}, {"flags": ["--debug"]}]
    assert len({order_of(made, {"prompt": "x", **each})["hold"] for each in asked}) == 3
