"""What commands, files and users may say reaches a terminal only as visible text, whichever verb shows it."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import pytest

from tests.e2e.harness import Cluster

pytestmark = pytest.mark.e2e

ACTS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
EVIL = "\x1b[31m\x1b]0;owned\x07\u202e\x9b2J"
PATIENCE_S = 60.0
FILE = {
    "name": "hostile",
    "context": {"constructor": EVIL},
    "tasks": {
        "__proto__": {"command": ["printf", EVIL]},
        "says": {
            "command": ["sh", "-c", f"printf '%s\\n' '{EVIL}' >&2; exit 4"],
            "retries": 0,
            "can_fail": True,
        },
        "throws": {
            "command": [EVIL],
            "depends_on": ["says"],
            "rule": "all_done",
            "condition": "(() => { throw new Error('\\u001b[31m\\u202e' + String.fromCharCode(27, 0x9b, 10)) })()",
        },
        "missing": {"command": [f"/no/{EVIL}"], "env": {"EVIL": EVIL}, "can_fail": True, "retries": 0},
        "updates": {"command": ["sh", "-c", 'printf \'{"\\\\u001b[31m": 1}\' >"$CORTEX_CONTEXT_UPDATE"']},
        "each": {"map": {"over": [EVIL, [EVIL]]}, "command": ["echo", "{{item}}"]},
    },
}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    made = Cluster(tmp_path_factory.mktemp("c"), voters=1)
    made.start()
    deadline = monotonic() + PATIENCE_S
    while made.cortex("status").returncode != 0:
        assert monotonic() < deadline, made.logs()
    yield made
    made.close()


def harmless(done: subprocess.CompletedProcess[bytes]) -> str:
    """What a terminal was sent, of which nothing acts on it."""
    text = done.stdout.decode() + done.stderr.decode()
    assert ACTS.search(text) is None, text
    assert "Traceback" not in text
    return text


def test_no_verb_passes_on_what_acts_on_a_terminal(cluster: Cluster, tmp_path: Path) -> None:
    file = tmp_path / "w.json"
    file.write_text(json.dumps(FILE))
    shown = harmless(cluster.cortex("workflow", "submit", "--wait", str(file)))
    workflow = json.loads(cluster.cortex("workflow", "list", "--json").stdout)["workflows"][0]["id"]
    document = json.loads(cluster.cortex("workflow", "show", workflow, "--json").stdout)
    assert set(document["tasks"]) == {*FILE["tasks"], "each[0]", "each[1]"} - {"each"}  # type: ignore[misc]
    assert document["context"] == FILE["context"]
    assert "condition_error" in shown
    letter = cluster.cortex("submit", "--retries", "0", "--", "sh", "-c", f"echo '{EVIL}' >&2; exit 3")
    task = letter.stdout.decode().strip()
    assert cluster.cortex("wait", task).returncode == 3
    for verb in (
        ("tasks",),
        ("tasks", "--json"),
        ("dead-letters",),
        ("dead-letters", "--group"),
        ("dead-letters", "--group", "--json"),
        ("task", task),
        ("why", task),
        *(("task", each["task_id"]) for each in document["tasks"].values()),
        ("workflow", "list"),
        ("workflow", "show", workflow),
        ("events", "--since", "1h"),
        ("events", "--audit"),
        ("diff", "--from", "2"),
        ("run", "--all", "--", "printf", EVIL),
        ("operations",),
    ):
        assert harmless(cluster.cortex(*verb)), verb


@pytest.mark.parametrize(
    "arguments",
    [
        ("annotate", "TASK", EVIL),
        ("discard", "TASK", "--now", "--reason", EVIL),
        ("cordon", "n1", "--message", EVIL),
        ("drain", "n1", "--message", EVIL),
        ("run", "--all", "--name", EVIL, "--", "true"),
        ("run", "--nodes", EVIL, "--", "true"),
        ("undo", EVIL),
        ("retry", "--cause", EVIL),
        ("settings", "set", EVIL, "1"),
        ("settings", "set", "profile", EVIL),
        ("tasks", "--at", EVIL),
        ("tasks", "--filter", f"/{EVIL}[/"),
        ("workflow", "submit", EVIL),
        ("workflow", "resume", EVIL),
        ("dispatch", f"@{EVIL}"),
    ],
)
def test_what_is_refused_is_quoted_harmlessly(cluster: Cluster, arguments: tuple[str, ...]) -> None:
    done = cluster.cortex("submit", "--wait", "--", "false")
    assert done.returncode == 1
    task = json.loads(cluster.cortex("tasks", "--limit", "1", "--json").stdout)["tasks"][0]["id"]
    refused = cluster.cortex(*(task if word == "TASK" else word for word in arguments))
    said = harmless(refused)
    assert refused.returncode in (1, 2, 3), said
    assert said.startswith("cortex: ")
    assert said.count("\n") == 2


def test_a_request_larger_than_any_node_waits_and_says_why(cluster: Cluster) -> None:
    done = cluster.cortex("submit", "--request", "gpus=900", "--request", "memory=900000GB", "--", "true")
    task = done.stdout.decode().strip()
    assert done.returncode == 0
    assert "GPU" in done.stderr.decode()
    why = cluster.cortex("why", task).stdout.decode()
    assert "queued" in why
    assert "GPU" in why
    assert cluster.cortex("cancel", "--wait", task).returncode == 0
