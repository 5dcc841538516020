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


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("c")
    (folder / "inbox" / "s1").mkdir(parents=True)
    options = {"subagent": {"command": str(STAND_IN)}, "claude_relay": {"inbox": str(folder / "inbox")}}
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
    words = ("submit", "--type", "subagent", "--set", f"prompt={steps('retry-after 3000')}")
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
