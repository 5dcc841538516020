"""What a user in a hurry gets wrong: a sentence of cause, a sentence of remedy, an exit code, and nothing lost."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.e2e.harness import Cluster
from tests.e2e.refusals import PATIENCE_S, cortex, environ, refused, until

pytestmark = pytest.mark.e2e

ESCAPE = "\x1b[31mred\x1b[0m"
# The kernel takes at most 128 KiB per argument.
LARGE = [f"{'x' * 100 * 1024}" for _ in range(3)]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    made = Cluster(tmp_path_factory.mktemp("c"), voters=1)
    made.start()
    until(lambda: made.cortex("status").returncode == 0)
    yield made
    made.close()


def total(cluster: Cluster) -> int:
    done = cluster.cortex("tasks", "--json", "--limit", "1")
    assert done.returncode == 0, done.stderr
    return int(json.loads(done.stdout)["total"])


@pytest.mark.parametrize(
    ("arguments", "code", "cause", "remedy"),
    [
        (["frobnicate"], 2, "There is no command 'cortex frobnicate'.", "Commands: console, up,"),
        (["nodes", "--frob"], 2, "No such option", "See `cortex nodes --help`."),
        (["submit"], 2, "There is no command.", "cortex submit -- echo hello"),
        (["submit", "--", ""], 1, "The command is empty.", "Give the command as a list"),
        (["submit", "--priority", "NaN", "--", "true"], 2, '"NaN" is not a whole number from 0 to 10.', "--help"),
        (["submit", "--priority", "11", "--", "true"], 2, "11 is not a whole number from 0 to 10.", "--help"),
        (["submit", "--retries", "-1", "--", "true"], 2, "-1 is not a whole number", "--help"),
        (["submit", "--timeout", "nan", "--", "true"], 2, "'nan' is not between 0 and ten years", "--help"),
        (["submit", "--timeout", "soon", "--", "true"], 2, "'soon'", "--help"),
        (["submit", "--mem", "inf", "--", "true"], 2, "'inf'", "--help"),
        (["submit", "--cwd", "here", "--", "true"], 2, '"here" is not absolute', "--help"),
        (["submit", "--env", "=x", "--", "true"], 2, "'=x' has no name and value", "--env NAME=VALUE"),
        (["submit", "--env", "LD_PRELOAD=x.so", "--", "true"], 1, "env must not set LD_PRELOAD", "env LD_PRELOAD"),
        (["submit", "--name", ESCAPE, "--", "true"], 1, "name has the control character U+001B", "plain text"),
        (["submit", "--key", ESCAPE, "--", "true"], 1, "has the control character U+001B", "Use letters"),
        (["submit", "--on", ESCAPE, "--", "true"], 1, "U+001B", ""),
        (["submit", "--label", ESCAPE, "--", "true"], 1, "U+001B", ""),
        (
            ["submit", "--env", "PYTHONSTARTUP=x", "--", "true"],
            1,
            "env must not set PYTHONSTARTUP",
            "let the command",
        ),
        (["submit", "--", "echo", *LARGE], 1, "The spec has 307", "Put large input into a file"),
        (["task", ESCAPE], 3, "There is no task '\\x1b[31mred\\x1b[0m'.", "List the tasks with `cortex tasks`."),
        (["cancel", "a\nb"], 3, "There is no task 'a\\nb'.", "cortex tasks"),
        (["wait", "nosuchtask"], 3, "There is no task 'nosuchtask'.", "cortex tasks"),
        (["logs", "nosuchtask"], 3, "There is no task 'nosuchtask'.", "cortex tasks"),
        (["node", "n9"], 3, "There is no node 'n9'.", "cortex nodes"),
        (["cordon", "n9"], 3, "There is no node 'n9'.", "cortex nodes"),
        (["cordon", "n1", "--message", "x" * 201], 1, "has 201 characters, the limit is 200", ""),
        (["tasks", "--node", "n9"], 3, "There is no node 'n9'.", "cortex nodes"),
        (["tasks", "--state", "frob"], 2, "'frob' is not one of", "--help"),
        (["tasks", "--limit", "0"], 2, "0 is not in the range", "--help"),
        (["tasks", "--cursor", "zzz"], 1, "The cursor is not one that a list returned.", "Begin again"),
        (["tasks", "--filter", "attempt>>"], 2, "at column 9", "comparisons"),
        (["leader", "transfer", "n9"], 3, "There is no node 'n9'.", "cortex nodes"),
        (["status", "--data", ""], 2, "--data is empty.", "leave --data out"),
        (
            ["status", "--cluster", "here"],
            2,
            "'here' is neither a daemon's address nor a name in the context file.",
            "HOST:PORT",
        ),
        (["status", "--cluster", "127.0.0.1:1"], 4, "No daemon answers at 127.0.0.1:1", "cortex up"),
        (["status", "--data", "/nowhere"], 4, "There is no cluster in /nowhere.", "cortex up --data /nowhere"),
        (["down", "--data", "/nowhere"], 4, "There is no cluster in /nowhere.", "cortex up --data /nowhere"),
        (["console"], 2, "The console needs a terminal.", "cortex status"),
        (["up", "--data", "/tmp"], 2, "The console needs a terminal.", "--headless"),
        (["up", "--headless", "--data", "/dev/null"], 2, "is in use by something else", "--data"),
        (["up", "--headless", "--data", "/dev/null/x"], 1, "cannot be written: Not a directory.", "--data"),
        (["up", "--headless", "--data", "/proc/x"], 1, "cannot be written", "--data"),
        (["up", "--headless", "--data", f"/tmp/{'d' * 100}"], 2, "bytes too long for the sockets", "shorter"),
    ],
)
def test_what_is_refused(cluster: Cluster, arguments: list[str], code: int, cause: str, remedy: str) -> None:
    done = cluster.cortex(*arguments)
    said, advice = refused(done)
    assert done.returncode == code, said
    assert cause in said
    assert remedy in advice
    assert done.stdout == b""


def test_nothing_of_all_that_was_submitted(cluster: Cluster, tmp_path: Path) -> None:
    before = total(cluster)
    for arguments in (["--priority", "NaN"], ["--name", ESCAPE], ["--sandbox", "tight"]):
        assert cluster.cortex("submit", *arguments, "--", "true").returncode > 0
    for bad in (
        '{"command": ["true"], "priority": NaN}',
        '{"command": ["true"',
        '{"command": 5}',
        '{"frob": 1}',
        '"x"',
    ):
        file = tmp_path / "tasks.jsonl"
        file.write_text(f'{{"command": ["true"]}}\n{bad}\n{{"command": ["true"]}}\n')
        said, advice = refused(done := cluster.cortex("submit", "--file", str(file)))
        assert done.returncode == 1
        assert "line 2" in said
        assert "nothing of the file was submitted" in advice
    large = json.dumps({"command": ["echo", *LARGE]})
    file.write_text(f'{{"command": ["true"]}}\n\n{large}\n')
    said, _ = refused(cluster.cortex("submit", "--file", str(file)))
    assert said.startswith("Nothing was submitted. Line 3: The spec has 307")
    assert total(cluster) == before


@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        (["--", "no-such-command"], "Command no-such-command is not in PATH"),
        (["--", "/etc/passwd"], "Command /etc/passwd is not executable. Make it so"),
        (["--", "/"], "Command / is a directory."),
        (["--cwd", "/no/such/folder", "--", "true"], "Working directory /no/such/folder does not exist"),
        (["--cwd", "/dev/null", "--", "true"], "Working directory /dev/null is not a directory"),
    ],
)
def test_what_no_machine_can_start_ends_with_its_cause(cluster: Cluster, arguments: list[str], cause: str) -> None:
    done = cluster.cortex("submit", "--wait", *arguments)
    assert (done.returncode, done.stdout) == (125, b"")
    said = done.stderr.decode()
    assert said.startswith("cortex: task ")
    assert " ended dead_letter: " + cause in said
    assert said.count("\n") == 1


def test_a_task_for_a_node_that_is_not_there_waits_and_says_so(cluster: Cluster) -> None:
    done = cluster.cortex("submit", "--on", "n9", "--", "true")
    task = done.stdout.decode().strip()
    assert done.returncode == 0
    assert f"no node can take task {task} now, so it waits: there is no node 'n9'" in done.stderr.decode()
    assert "target_node is n9" in cluster.cortex("why", task).stdout.decode()
    assert cluster.cortex("cancel", "--wait", task).returncode == 0
    said, _ = refused(again := cluster.cortex("cancel", task))
    assert (again.returncode, said) == (
        1,
        f"Task {task} is cancelled: it has ended, and there is nothing to cancel.",
    )


def test_the_secret_is_needed_on_loopback_too(cluster: Cluster, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text("w" * 40)
    address = next(iter(cluster.nodes.values())).address
    before = total(cluster)
    for variables in ({}, {"CORTEX_SECRET_FILE": str(wrong)}):
        for verb in (["status"], ["submit", "--", "true"]):
            said, advice = refused(
                done := cortex("--cluster", address, *verb, variables=variables, folder=tmp_path)
            )
            assert (done.returncode, said) == (1, "The call does not carry this cluster's secret.")
            assert "CORTEX_SECRET_FILE" in advice
    said, _ = refused(
        done := cortex("--cluster", address, "status", variables={"CORTEX_SECRET_FILE": "none"}, folder=tmp_path)
    )
    assert (done.returncode, said) == (1, "The cluster's secret none cannot be read: No such file or directory.")
    assert total(cluster) == before


def test_a_reader_who_has_enough_ends_it_quietly(cluster: Cluster) -> None:
    for line in ("tasks", "events", "submit --wait -- yes", "--help", "nodes --json"):
        address = ",".join(node.address for node in cluster.nodes.values())
        command = f'"{sys.executable}" -m tui.cli {line} | head -1 >/dev/null; exit ${{PIPESTATUS[0]}}'
        variables = {"CORTEX_CLUSTER": address, "CORTEX_SECRET_FILE": str(cluster.secret)}
        done = subprocess.run(
            ["bash", "-c", command], env=environ(variables), capture_output=True, timeout=PATIENCE_S, check=False
        )
        assert (line, done.returncode, done.stderr) == (line, 0, b"")
    endless: list[dict[str, object]] = []

    def listed() -> bool:
        # Its output may be read before a list shows that it runs.
        endless[:] = json.loads(cluster.cortex("tasks", "--json", "--state", "running").stdout)["tasks"]
        return bool(endless)

    until(listed)
    assert [task["command"] for task in endless] == [["yes"]]
    assert cluster.cortex("cancel", "--wait", str(endless[0]["id"])).returncode == 0


@pytest.mark.parametrize("verb", ["submit --wait --", "wait", "logs -f", "events -f --since 1h"])
def test_ctrl_c_is_one_sentence_and_the_task_goes_on(cluster: Cluster, tmp_path: Path, verb: str) -> None:
    gate = tmp_path / "gate"
    script = ["sh", "-c", f"echo begun; until [ -e {gate} ]; do sleep 0.05; done; echo done"]
    arguments = verb.split()
    if verb.startswith("submit"):
        arguments += script
    else:
        task = cluster.cortex("submit", "--", *script).stdout.decode().strip()
        arguments += [] if verb.startswith("events") else [task]
    process = subprocess.Popen(
        [sys.executable, "-m", "tui.cli", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environ(variables_of(cluster)),
    )
    assert process.stdout is not None
    assert process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130
    assert said.startswith((b"cortex: Interrupted.\n", b"cortex: Stopped waiting; the task goes on.\n"))
    gate.touch()
    if verb.startswith("submit"):
        task = said.split(b"`cortex wait ")[1].split(b"`")[0].decode()
    ended = cluster.cortex("wait", task)
    assert (ended.returncode, ended.stdout) == (0, b"begun\ndone\n")


def test_ctrl_c_ends_a_call_to_a_daemon_that_hangs(cluster: Cluster) -> None:
    node = next(iter(cluster.nodes.values()))
    assert node.process is not None
    node.process.send_signal(signal.SIGSTOP)
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "tui.cli", "submit", "--", "true"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environ(variables_of(cluster)),
        )
        until(lambda: connected(process.pid, int(node.address.rpartition(":")[2])))
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=PATIENCE_S)
    finally:
        node.process.send_signal(signal.SIGCONT)
    assert process.returncode == 130
    assert b"whether anything was submitted is not known" in said


def connected(pid: int, port: int) -> bool:
    """Whether the process has a connection to that port."""
    try:
        found = psutil.Process(pid).net_connections("tcp")
    except psutil.Error:
        return False
    return any(each.raddr and each.raddr.port == port for each in found if each.status == psutil.CONN_ESTABLISHED)


def variables_of(cluster: Cluster) -> dict[str, str]:
    addresses = ",".join(node.address for node in cluster.nodes.values())
    return {"CORTEX_CLUSTER": addresses, "CORTEX_SECRET_FILE": str(cluster.secret)}
