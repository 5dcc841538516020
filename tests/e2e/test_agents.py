"""Agents by the command line: an answer, a model that is busy, a failure that is worth a letter, a message."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.harness import Cluster, eventually
from tests.node.agent_kit import STAND_IN, steps

pytestmark = pytest.mark.e2e

TOKEN = 'qW7"zK-9vR\\tB4_mX2.hL6'
# A part of it is too much, and JSON writes it in its own way.
PARTS = (TOKEN[4:10], TOKEN[-8:])


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("c")
    (folder / "inbox" / "s1").mkdir(parents=True)
    (folder / "secrets").mkdir(mode=0o700)
    (folder / "secrets" / "tok").write_text(TOKEN)
    (folder / "secrets" / "tok").chmod(0o600)
    account = {"secrets": str(folder / "secrets"), "environment": {"MODEL_API_KEY": "secret:tok"}}
    options = {
        "subagent": {"command": str(STAND_IN), **account},
        "claude_relay": {"command": str(STAND_IN), "inbox": str(folder / "inbox"), **account},
    }
    executors = {"CORTEX_EXECUTORS": "shell,subagent,claude_relay", "CORTEX_EXECUTOR": json.dumps(options)}
    made = Cluster(folder, voters=1, environment=executors)
    made.start()
    yield made
    made.close()


async def ready(cluster: Cluster) -> None:
    async with cluster.client() as client:
        await cluster.whole(client)


def asked(cluster: Cluster, *words: str, code: int = 0) -> subprocess.CompletedProcess[bytes]:
    ran = cluster.cortex(*words)
    assert ran.returncode == code, ran.stderr
    return ran


def agent(cluster: Cluster, *lines: str, kind: str = "subagent", code: int = 0) -> dict[str, Any]:
    """The task of an agent that did what `lines` say, as the command line shows it after its end."""
    words = ("submit", "--type", kind, "--set", f"prompt={steps(*lines)}", "--wait", "--json")
    found = json.loads(asked(cluster, *words, code=code).stdout)
    assert isinstance(found, dict)
    return found


async def test_agents_answer_wait_and_fail(cluster: Cluster, tmp_path: Path) -> None:
    await ready(cluster)
    limited = f"once {tmp_path / 'asked'} retry-after 1"
    done, late, *letters = await asyncio.gather(
        asyncio.to_thread(agent, cluster, "tool Bash ls", "text All is done.", kind="claude-code"),
        asyncio.to_thread(agent, cluster, limited, "text At last."),
        asyncio.to_thread(agent, cluster, "error 3 tests fail", code=1),
        asyncio.to_thread(agent, cluster, "error 4 tests fail", code=1),
    )
    assert (done["state"], done["type"], done["error_type"]) == ("completed", "subagent", None)
    assert done["result"]["document"]["result"] == "All is done."
    shown = asked(cluster, "task", done["id"]).stdout.decode()
    assert '"result": "All is done."' in shown
    assert b"> Bash ls" in asked(cluster, "logs", done["id"]).stdout

    assert (late["state"], late["attempt"], late["put_offs"]) == ("completed", 0, 1)
    assert [failure["error_type"] for failure in late["failures"]] == ["rate_limited"]
    events = json.loads(asked(cluster, "task", late["id"], "--json").stdout)["events"]
    (put_off,) = [event["detail"] for event in events if event["type"] == "put_off"]
    assert put_off.startswith("for 1 s, nothing counted: The model's API limits")

    assert {(letter["state"], letter["error_type"]) for letter in letters} == {("dead_letter", "exit")}
    (cause,) = json.loads(asked(cluster, "dead-letters", "--group", "--json").stdout)["causes"]
    assert (cause["count"], cause["error_type"]) == (2, "exit")
    assert cause["error"].endswith("tests fail")


async def test_a_task_that_is_put_off_says_until_when(cluster: Cluster) -> None:
    await ready(cluster)
    # Another model, so that no other test is held back.
    prompt = f"prompt={steps('retry-after 3000')}"
    words = ("submit", "--type", "subagent", "--set", "model=busy", "--set", prompt)
    task = asked(cluster, *words).stdout.decode().strip()

    async def put_off() -> str:
        return "yes" if b" put_off " in cluster.cortex("task", task).stdout else ""

    await eventually(put_off)
    said = "UTC, since The model's API limits how much may be asked of it: Slow down."
    assert said in asked(cluster, "why", task).stdout.decode()
    assert "put off until" in asked(cluster, "tasks").stdout.decode()
    asked(cluster, "cancel", task)
    assert json.loads(asked(cluster, "task", task, "--json").stdout)["error_type"] == "cancelled"


HOOK = """cd "$1"
while ! m=$(ls in/*.json 2>/dev/null); do sleep 0.05; done
mv $m taken/
echo '{"answer": "half way"}' > out/.part
mv out/.part out/$(basename $m)
"""


async def test_a_session_is_told_and_answers(cluster: Cluster) -> None:
    await ready(cluster)
    hook = await asyncio.create_subprocess_exec("sh", "-c", HOOK, "sh", str(cluster.root / "inbox" / "s1"))
    words = ("--type", "claude-relay", "--set", "session=s1", "--set", "message=How far?", "--wait")
    assert asked(cluster, "submit", *words).stdout == b"half way\n"
    assert await hook.wait() == 0


async def test_a_secret_is_written_nowhere(cluster: Cluster, tmp_path: Path) -> None:
    await ready(cluster)
    server = {"url": "https://mcp.example/", "headers": {"Authorization": "Bearer secret:tok"}}
    shows = ("show mcp", "show argv", "show env MODEL_API_KEY", "leak MODEL_API_KEY")
    waits = ("make " + str(tmp_path / "begun"), "wait " + str(tmp_path / "go"))

    def submitted(kind: str, **payload: object) -> str:
        words = ("submit", "--type", kind, "--retries", "0", "--payload", json.dumps(payload))
        return asked(cluster, *words).stdout.decode().strip()

    good = submitted("subagent", prompt=steps(*shows, *waits, "show mcp"), mcp={"docs": server})
    bad = submitted("subagent", prompt=steps(*shows, "cut MODEL_API_KEY"), mcp={"docs": server}, model="m")
    resumed = submitted("claude_relay", session="abc", message=steps(*shows[1:]), mode="resume")

    async def begun() -> str:
        return "yes" if (tmp_path / "begun").exists() else ""

    await eventually(begun)
    arguments = b"".join(map(read, found(Path("/proc"), "[0-9]*/cmdline")))
    assert str(STAND_IN).encode() in arguments
    assert not [part for part in PARTS if part.encode() in arguments]
    (tmp_path / "go").touch()
    asked(cluster, "wait", good, resumed)
    asked(cluster, "wait", bad, code=1)
    for task in (good, bad, resumed):
        shown = b"".join(
            cluster.cortex(*words).stdout for words in (("task", task), ("logs", task), ("task", task, "--json"))
        )
        assert b"secret:tok" in shown
        assert not [part for part in PARTS if part.encode() in shown]
    exchange = cluster.nodes["n1"].data / "exchange"

    async def over() -> str:
        return "" if found(exchange, "*") else "yes"

    await eventually(over)
    files = [file for file in found(cluster.root, "**/*") if file.is_file() and file.parent.name != "secrets"]
    assert len(files) > 10
    assert not [file for file in files for part in PARTS if part.encode() in read(file)]


def found(folder: Path, pattern: str) -> list[Path]:
    return list(folder.glob(pattern))


def read(file: Path) -> bytes:
    """Empty where it went meanwhile."""
    try:
        return file.read_bytes()
    except OSError:
        return b""
