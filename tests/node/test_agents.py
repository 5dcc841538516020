"""Subagents: the driver, a real supervisor, and the stand-in for an agent."""

from __future__ import annotations

import asyncio
import errno
import os
import re
from pathlib import Path
from unittest.mock import Mock

import pytest

from node.core.faults import Fault
from node.drivers.agent.process import fail_to_run
from node.worker.executors.port import CannotPrepare
from node.worker.executors.relay import RelayExecutor
from node.worker.executors.subagent import SubagentExecutor
from node.worker.port import StopOrder
from tests.node.agent_kit import STAND_IN, assignment, machine, setup, steps
from tests.node.supervisor_kit import alive, family, until

TOKEN = "s3cr3t-value-of-tok"
ENDS: dict[tuple[str, ...], tuple[str, str, int, int]] = {
    ("retry-after 7",): ("RATE_LIMITED", "limits how much may be asked of it: Slow down.", 7_000, 7_000),
    ("limit 3600",): ("RATE_LIMITED", "usage limit reached", 3_500_000, 3_600_000),
    ("overloaded",): ("RATE_LIMITED", "The model's API is overloaded: Overloaded", 0, 0),
    ("retrying 503", "exit 1"): ("INFRASTRUCTURE", "cannot be used now", 700, 700),
    ("status 401 Invalid API key",): ("CANNOT_START", "account on this machine cannot be used", 0, 0),
    ("status 404 model: nobody",): ("VALIDATION", "refuses what it is asked", 0, 0),
    ("turns 3", "max-turns"): ("EXIT", "used up its 5 turns.*Raise max_turns", 0, 0),
    ("error the tests fail",): ("EXIT", "error_during_execution\\): the tests fail", 0, 0),
    ("stderr what is this", "exit 3"): ("EXIT", "exit code 3 and no result: what is this", 0, 0),
    ("crash SEGV",): ("SIGNAL", "killed by signal 11 \\(SIGSEGV\\)", 0, 0),
}


def files_with(text: str, folder: Path) -> set[Path]:
    return {file for file in folder.rglob("*") if file.is_file() and text.encode() in file.read_bytes()}


async def test_what_an_agent_does_is_told_and_its_answer_kept(tmp_path: Path) -> None:
    lines = ("tool Bash make test", "fail-tool no such target", "garbage \\xff{", "show cwd", "text All is done.")
    async with machine(tmp_path) as here:
        (tmp_path / "project").mkdir()
        run = await here.run({"prompt": steps(*lines), "project_path": str(tmp_path / "project"), "max_turns": 4})
    assert (run.ended.cause, run.ended.result.exit_code, run.err) == (0, 0, "")
    assert run.out.splitlines()[1:4] == ["> Bash make test", "! no such target", "\ufffd{"]
    assert run.out.splitlines()[4:] == [str(tmp_path / "project"), "All is done.", "= 3 turns, 0.0030 USD"]
    assert run.document["result"] == "All is done."
    assert (run.document["turns"], run.document["cost_usd"]) == (3, 0.003)
    assert run.document["usage"] == {"input_tokens": 30, "output_tokens": 15}
    (told,) = run.progress
    assert (told.current, told.total, told.message) == (3, 4, "All is done.")


async def test_how_agents_end_badly(tmp_path: Path) -> None:
    async with machine(tmp_path) as here:
        # Each with a model of its own: what one is told holds for the others.
        asked = [{"prompt": steps(*lines), "max_turns": 5, "model": f"m{at}"} for at, lines in enumerate(ENDS)]
        runs = await asyncio.gather(*map(here.run, asked))
    for run, (lines, (cause, says, low_ms, high_ms)) in zip(runs, ENDS.items(), strict=True):
        assert run.cause == f"CAUSE_{cause}", lines
        assert re.search(says, run.ended.error), lines
        assert low_ms <= run.ended.retry_after_ms <= high_ms, lines
        # What a dead letter's fingerprint is made from.
        assert run.err.endswith(f"{run.ended.error}\n"), lines


async def test_a_secret_reaches_the_agent_and_nobody_else(tmp_path: Path) -> None:
    secrets = tmp_path / "secrets"
    secrets.mkdir(mode=0o700)
    (secrets / "tok").write_text(f"{TOKEN}\n")
    (secrets / "tok").chmod(0o600)
    (secrets / "open").write_text(TOKEN)
    options = {"secrets": str(secrets), "environment": {"MODEL_API_KEY": "secret:tok"}}
    server = {"url": "https://mcp.example/", "headers": {"Authorization": "Bearer secret:tok"}}
    # The stand-in looks at what it was given: a file that nobody else reads, with the value.
    lines = ("show mcp", "show argv", "show env MODEL_API_KEY", "show env CORTEX_VERDICT", "leak MODEL_API_KEY")
    async with machine(tmp_path, subagent=options) as here:
        order = here.order(here.subagent, {"prompt": steps(*lines), "mcp": {"docs": server}})
        assert TOKEN not in repr(order)
        here.watched.port.spawn([order])
        run = await here.end(order.key)
        missing = {**server, "headers": {"Authorization": "secret:nothing"}}
        readable = {**server, "headers": {"Authorization": "secret:open"}}
        refused = [await here.run({"prompt": "x", "mcp": {"docs": each}}) for each in (missing, readable)]
    assert run.ended.cause == 0
    shown = run.out.splitlines()
    assert '"Authorization": "Bearer secret:tok"' in shown[1]
    assert "--mcp-config" in shown[2]
    assert shown[3:5] == ["secret:tok", "(not set)"]
    assert run.err == "secret:tok\n"
    assert files_with(TOKEN, tmp_path) == {secrets / "tok", secrets / "open"}
    assert [one.cause for one in refused] == ["CAUSE_NOT_FOUND"] * 2
    assert "has no secret nothing" in refused[0].ended.error
    assert "chmod 600" in refused[1].ended.error


async def test_an_agent_that_will_not_stop_is_ended_with_its_driver(tmp_path: Path) -> None:
    async with machine(tmp_path) as here:
        prompt = steps("ignore-term", "text begun", "wait /no/such/file")
        order = here.order(here.subagent, {"prompt": prompt})
        here.watched.port.spawn([order])
        await here.watched.says(order, b"begun")
        pids = family((await here.watched.started(order.key)).pid)
        assert pids
        here.watched.port.stop([StopOrder(order.key, 6, 1_000_000)])
        await here.watched.result(order.key)
        await until(lambda: not any(alive(pid) for pid in pids))


async def test_an_agent_that_has_given_its_result_and_does_not_go(tmp_path: Path) -> None:
    async with machine(tmp_path, subagent={"linger_s": 0.2}) as here:
        order = here.order(here.subagent, {"prompt": steps("text done", "linger")})
        here.watched.port.spawn([order])
        pids = [(await here.watched.started(order.key)).pid]
        run = await here.end(order.key)
        await until(lambda: not any(alive(pid) for pid in [*pids, *family(here.watched.port.pid)]))
    assert (run.ended.cause, run.document["result"]) == (0, "done")


async def test_a_line_without_an_end_takes_no_memory(tmp_path: Path) -> None:
    async with machine(tmp_path) as here:
        run = await here.run({"prompt": steps(f"huge {96 << 20}", "text still here")})
    assert "(a line of more than 4 MiB was left out)" in run.out
    assert run.document["result"] == "still here"
    assert run.ended.result.usage.max_rss_bytes < 80 << 20


async def test_a_place_that_is_not_there(tmp_path: Path) -> None:
    async with machine(tmp_path) as here:
        run = await here.run({"prompt": "x", "project_path": str(tmp_path / "gone")})
    # As of a command's working directory: another node is tried first.
    assert run.cause == "CAUSE_CANNOT_START"
    assert f"Project folder {tmp_path / 'gone'} is not there on this node" in run.ended.error


@pytest.mark.parametrize(
    ("number", "cause"),
    [
        (errno.ENOENT, "cannot_start"),
        (errno.EACCES, "cannot_start"),
        (errno.E2BIG, "validation"),
        (errno.EMFILE, "infrastructure"),
        (errno.ENOSPC, "infrastructure"),
    ],
)
def test_only_what_passes_is_waited_for(number: int, cause: str) -> None:
    desk = Mock()
    fail_to_run(desk, OSError(number, os.strerror(number), "/opt/agent"), "The agent cannot be run")
    said = (
        f"The agent cannot be run: {os.strerror(number)}: /opt/agent. Correct that on the node, and retry the task."
    )
    desk.fail.assert_called_once_with(cause, said)


async def test_an_agent_that_was_removed_meanwhile(tmp_path: Path) -> None:
    async with machine(tmp_path, subagent={"command": "/no/such/agent"}) as here:
        run = await here.run({"prompt": "x"})
    assert run.cause == "CAUSE_CANNOT_START"
    assert run.ended.error.startswith("The agent cannot be run: No such file or directory: /no/such/agent.")


def test_the_stand_in_is_offered_with_its_version(tmp_path: Path) -> None:
    offer = SubagentExecutor(setup(tmp_path)).probe()
    assert (offer.available, offer.detail) == (True, "stand_in.py 1.0 (stand-in)")


def test_what_is_not_there_is_not_offered(tmp_path: Path) -> None:
    for executor in (SubagentExecutor, RelayExecutor):
        offer = executor(setup(tmp_path, command="no-such-agent")).probe()
        assert not offer.available
        assert "no-such-agent is not in the daemon's PATH" in offer.reason
        assert "/bin/false --version" in executor(setup(tmp_path, command="/bin/false")).probe().reason


def test_secrets_that_others_may_look_into_are_not_used(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    assert "chmod" in SubagentExecutor(setup(tmp_path, secrets=str(tmp_path))).probe().reason


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"command": 5}, "command"),
        ({"command": []}, "begins with a program"),
        ({"command": ["claude", "{modle}"]}, "{modle} is no placeholder"),
        ({"command": ["claude", [5]]}, "is wrong"),
        ({"commnad": "claude"}, "commnad"),
        ({"secrets": "here"}, "no absolute path"),
        ({"environment": {"API_KEY": "sk-1"}}, "a credential in API_KEY"),
        ({"environment": {"A=B": "x"}}, "a name with ="),
        ({"linger_s": -1}, "linger_s"),
    ],
)
def test_settings_that_cannot_be_used(tmp_path: Path, options: dict[str, object], says: str) -> None:
    for executor in (SubagentExecutor, RelayExecutor):
        with pytest.raises(Fault, match=re.escape(says)) as caught:
            executor(setup(tmp_path, **options))
        assert caught.value.remedy


@pytest.mark.parametrize("flags", [["--dangerously-skip-permissions"], ["--permission-mode", "bypassPermissions"]])
def test_a_machine_has_to_allow_that_agents_ask_nobody(tmp_path: Path, flags: list[str]) -> None:
    work = assignment({"prompt": "x", "flags": flags})
    with pytest.raises(CannotPrepare, match="refuses the flag"):
        SubagentExecutor(setup(tmp_path)).prepare(work)
    SubagentExecutor(setup(tmp_path, refuse_flags=[])).prepare(work)


def test_an_agent_stays_below_the_roots(tmp_path: Path) -> None:
    made = setup(tmp_path)
    roots = [tmp_path / "src"]
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "out").symlink_to("/usr")
    executor = SubagentExecutor(type(made)(made.data, made.environment, made.options, roots))
    executor.prepare(assignment({"prompt": "x", "project_path": str(roots[0])}))
    for outside in ("/usr", str(roots[0] / "out"), str(roots[0] / "..")):
        with pytest.raises(CannotPrepare, match="outside of what this node allows"):
            executor.prepare(assignment({"prompt": "x", "project_path": outside}))
        with pytest.raises(CannotPrepare, match="outside of what this node allows"):
            executor.prepare(assignment({"prompt": "x"}, cwd=outside))


def test_stand_in_is_a_program() -> None:
    assert STAND_IN.stat().st_mode & 0o100
