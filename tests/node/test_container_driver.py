"""The driver of container tasks against engines that answer as Podman 4.3 and Docker 28 do."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from node.drivers.container import main as container
from node.drivers.container.attached import Attached
from node.drivers.container.engine import EngineError, State, telling_line
from node.drivers.container.usage import Usage
from node.drivers.kit import Desk, Stopped
from node.drivers.refusals import meaning
from node.payloads.container import Container
from tests.node.container_kit import AWAY, Double, Driver
from tests.node.supervisor_kit import PATIENCE_S, until

BEGAN = "2026-11-22T03:42:10.769757199Z"
WARNING = "WARNING: image platform (linux/s390x) does not match the expected platform (linux/amd64)\n"
NEVER = "0001-01-01T00:00:00Z"
GONE = (125, "[]\n", "Error: inspecting object: no such container cortex-t1-10\n")


def state(**fields: Any) -> tuple[int, str, str]:
    """What `container inspect` says."""
    said = {"Status": "exited", "Running": False, "OOMKilled": False, "ExitCode": 0, "StartedAt": BEGAN, **fields}
    return 0, json.dumps([{"State": said}]), ""


@pytest.fixture(params=["podman", "docker"])
def double(request: pytest.FixtureRequest, tmp_path: Path) -> Double:
    return Double(tmp_path, request.param)


@pytest.fixture
def docker(tmp_path: Path) -> Double:
    return Double(tmp_path, "docker")


async def test_success_costs_three_calls(double: Double, tmp_path: Path) -> None:
    double.answer(run=[(0, "out\n", "err\n")])
    env = (("SECRET", "s"),)
    driven = await Driver(tmp_path / "x", double.order(env=env, command=("a b", "c"))).run()
    assert (driven.code, driven.out, driven.error) == (0, b"out\n", "err\n")
    assert driven.verdict == {"cause": "", "error": "", "retry_after_ms": 0, "left": False}
    removal = {"podman": ["--time", "0", "--ignore"], "docker": []}[double.name]
    assert double.calls() == [
        ["image", "inspect", "--format", "{{.Id}}", "app:1"],
        ["run", "--name", "cortex-t1-10", "--pull", "never", "--log-driver", "none", "--label", "cortex.task=t1",
         "--label", "cortex.fence=10", "--label", "cortex.place=0123456789abcdef", "--env", "SECRET", "app:1",
         "a b", "c"],
        ["rm", "--force", "--volumes", *removal, "cortex-t1-10"],
    ]  # fmt: skip
    assert double.environ("run")["SECRET"] == "s"
    assert "SECRET" not in double.environ("rm")


async def test_an_image_that_is_missing_is_pulled(docker: Double, tmp_path: Path) -> None:
    docker.answer(image_inspect=[(1, "[]\n", "Error: No such image: app:1\n")])
    driven = await Driver(tmp_path / "x", docker.order()).run()
    assert driven.code == 0
    assert [argv[0] for argv in docker.calls()] == ["image", "pull", "run", "rm"]
    assert "pulling app:1" in (tmp_path / "x/events.jsonl").read_text()


async def test_pull_policies(docker: Double, tmp_path: Path) -> None:
    await Driver(tmp_path / "always", docker.order(Container(image="app:1", pull="always"))).run()
    assert [argv[0] for argv in docker.calls()] == ["pull", "run", "rm"]
    docker.answer(image_inspect=[(1, "[]\n", "Error: No such image: app:1\n")])
    driven = await Driver(tmp_path / "never", docker.order(Container(image="app:1", pull="never"))).run()
    assert (driven.code, driven.verdict["cause"]) == (125, "not_found")
    assert driven.verdict["error"] == "Image app:1 is not on this node. Pull it there, or set pull to missing."
    assert driven.error == driven.verdict["error"] + "\n"
    driven = await Driver(tmp_path / "own", docker.order(Container(image="localhost/app:1"))).run()
    assert driven.verdict["error"] == "Image localhost/app:1 is not on this node. Build or import it there."
    assert (len(docker.calls("pull")), len(docker.calls("run"))) == (1, 1)


async def test_an_engine_that_is_away_puts_the_task_off(docker: Double, tmp_path: Path) -> None:
    docker.answer(image_inspect=[(1, "[]\n", AWAY)])
    driven = await Driver(tmp_path / "x", docker.order()).run()
    assert (driven.code, driven.verdict["cause"], driven.verdict["left"]) == (125, "infrastructure", False)
    assert "Is the docker daemon running?" in driven.verdict["error"]


async def test_a_program_that_is_missing_is_the_machines_trouble(docker: Double, tmp_path: Path) -> None:
    driven = await Driver(tmp_path / "x", docker.order(program="/nonexistent/podman")).run()
    assert driven.verdict["cause"] == "infrastructure"
    assert "/nonexistent/podman cannot be run: No such file or directory" in driven.verdict["error"]


async def test_an_engine_that_dies_under_a_container_leaves_it_to_the_executor(
    double: Double, tmp_path: Path
) -> None:
    dead = (1, "", AWAY)
    double.answer(
        run=[(125, "", "error during connect: unexpected EOF\n")], container_inspect=[dead], rm=[dead], ps=[dead]
    )
    driver = Driver(tmp_path / "x", double.order())
    process = await driver.start()
    await until(lambda: double.calls("rm"))
    # What it goes on trying for is cut short.
    double.answer(rm=[dead], ps=[(0, "", "")])
    driven = await driver.end(process)
    assert (driven.code, driven.verdict["cause"], driven.verdict["left"]) == (125, "infrastructure", False)


async def test_an_engine_that_is_away_at_a_stop_leaves_the_container(docker: Double, tmp_path: Path) -> None:
    docker.answer(run=[(0, "HANG", "")], rm=[(1, "", AWAY)], ps=[(1, "", AWAY)])
    driver = Driver(tmp_path / "x", docker.order(kill_timeout_s=0.2))
    process = await driver.start()
    await until(lambda: docker.calls("run"))
    os.kill(process.pid, signal.SIGTERM)
    driven = await driver.end(process)
    assert driven.verdict["left"] is True
    assert "The container is not removed: docker ps failed: Cannot connect" in driven.error


async def test_a_container_that_runs_on_without_its_client_is_removed(docker: Double, tmp_path: Path) -> None:
    docker.answer(run=[(125, "", "unexpected EOF\n")], container_inspect=[state(Running=True, Status="running")])
    driven = await Driver(tmp_path / "x", docker.order()).run()
    assert (driven.code, driven.verdict["cause"]) == (125, "infrastructure")
    assert len(docker.calls("rm")) == 1


@pytest.mark.parametrize(
    ("code", "said", "cause"),
    [
        (7, {"ExitCode": 7}, ""),
        (125, {"ExitCode": 125}, ""),
        (1, {"ExitCode": 1, "OOMKilled": True}, "oom"),
        (137, {"ExitCode": 137}, "signal"),
        (139, {"ExitCode": 139}, "signal"),
        (128, {"ExitCode": 128}, ""),
        (255, {"ExitCode": 255}, ""),
    ],
)
async def test_exit_codes_of_what_ran_are_its_own(
    tmp_path: Path, code: int, said: dict[str, Any], cause: str
) -> None:
    double = Double(tmp_path, "docker")
    double.answer(run=[(code, "", "error: no such image\n")], container_inspect=[state(**said)])
    driven = await Driver(tmp_path / "x", double.order()).run()
    assert (driven.code, driven.verdict["cause"]) == (code, cause)


async def test_a_container_that_somebody_removes_is_told_as_that(docker: Double, tmp_path: Path) -> None:
    docker.answer(run=[(137, "", "")], container_inspect=[GONE], ps=[(0, "", "")])
    driven = await Driver(tmp_path / "x", docker.order()).run()
    assert (driven.code, driven.verdict["cause"]) == (137, "signal")
    assert "was removed while it ran" in driven.verdict["error"]


async def test_what_a_task_counts_as_success_is_none_of_its_causes(docker: Double, tmp_path: Path) -> None:
    docker.answer(run=[(143, "", "")], container_inspect=[state(ExitCode=143)])
    driven = await Driver(tmp_path / "x", docker.order(success_codes=(143,))).run()
    assert (driven.code, driven.verdict["cause"], driven.verdict["error"]) == (143, "", "")


async def test_another_container_of_its_name_is_left_alone(double: Double, tmp_path: Path) -> None:
    said = {
        "podman": 'Error: creating container storage: the container name "cortex-t1-10" is already in use by 1582.'
        " You have to remove that container to be able to reuse that name: that name is already in use",
        "docker": 'docker: Error response from daemon: Conflict. The container name "/cortex-t1-10" is already'
        ' in use by container "1582". You have to remove (or rename) that container to be able to reuse that name.',
    }
    double.answer(run=[(125, "", said[double.name])], container_inspect=[state(Running=True)])
    driven = await Driver(tmp_path / "x", double.order()).run()
    assert (driven.code, driven.verdict["cause"], driven.verdict["left"]) == (125, "cannot_start", False)
    assert driven.verdict["error"].startswith("There is another container cortex-t1-10 on this node.")
    assert double.calls("rm") == []


async def test_an_image_for_another_kind_of_machine_is_said(docker: Double, tmp_path: Path) -> None:
    docker.answer(
        run=[(255, "", f"{WARNING}exec /bin/app: exec format error\n")],
        container_inspect=[state(ExitCode=255)],
        image_inspect=[(0, "sha256:1\n", ""), (0, "s390x\n", "")],
    )
    driven = await Driver(tmp_path / "x", docker.order()).run()
    assert (driven.code, driven.verdict["cause"]) == (255, "validation")
    assert (
        "/bin/app is not a program for this machine: the image is made for s390x, the node is"
        in driven.verdict["error"]
    )


@pytest.mark.parametrize("said", ["warning\nexec /bin/app: exec format error\n", "exec format error\n"])
async def test_what_a_program_writes_itself_is_not_taken_for_it(docker: Double, tmp_path: Path, said: str) -> None:
    docker.answer(run=[(1, "", said)], container_inspect=[state(ExitCode=1)])
    driven = await Driver(tmp_path / "x", docker.order()).run()
    assert driven.verdict["cause"] == ""


@pytest.fixture
def keeper() -> Iterator[subprocess.Popen[bytes]]:
    """Stands for what keeps a container."""
    process = subprocess.Popen(["sleep", "60"])
    yield process
    process.kill()
    process.wait()


def kept_by(pid: int) -> State:
    return State(started=True, running=True, exit_code=0, out_of_memory=False, pid=os.getpid(), keeper=pid)


def test_a_container_that_nothing_keeps_any_more_is_given_up(keeper: subprocess.Popen[bytes]) -> None:
    """Its client would wait for ever."""
    usage = Usage("podman", lambda: kept_by(keeper.pid))
    for _ in range(4):
        usage.look()
    keeper.kill()
    keeper.wait()
    usage.look()
    with pytest.raises(EngineError, match="the process of podman that kept the container is gone"):
        usage.look()


@pytest.mark.parametrize("answer", ["ended", "removed", "busy"])
def test_a_container_that_ended_has_half_a_minute_to_be_cleared_up(
    keeper: subprocess.Popen[bytes], answer: str
) -> None:
    """Nothing keeps it then, while its client unmounts and removes it."""
    times_s, seen = iter((10.0, 15.0, 39.0, 40.0)), [kept_by(keeper.pid)]

    def asked() -> State | None:
        if not seen:
            if answer == "busy":
                raise EngineError("podman container gave no answer within 30 s")
            return None if answer == "removed" else replace(kept_by(keeper.pid), running=False)
        return seen.pop()

    usage = Usage("podman", asked, lambda: next(times_s))
    for _ in range(2):
        usage.look()
    keeper.kill()
    keeper.wait()
    for _ in range(3):
        usage.look()
    with pytest.raises(EngineError, match="the process of podman that kept the container is gone"):
        usage.look()


def test_what_keeps_a_container_elsewhere_is_not_missed_here() -> None:
    """Its number is one of the engine's machine."""
    usage = Usage("podman", lambda: kept_by(1 << 30))
    for _ in range(6):
        usage.look()


async def test_what_never_began_is_the_engines_word(tmp_path: Path) -> None:
    double = Double(tmp_path, "docker")
    said = (
        "docker: Error response from daemon: failed to create task for container: failed to create shim task: "
        'OCI runtime create failed: runc create failed: unable to start container process: exec: "nope": '
        "executable file not found in $PATH: unknown.\n\nRun 'docker run --help' for more information\n"
    )
    double.answer(run=[(127, "", said)], container_inspect=[state(Status="created", StartedAt=NEVER, ExitCode=127)])
    driven = await Driver(tmp_path / "x", double.order()).run()
    assert (driven.code, driven.verdict["cause"]) == (127, "not_found")
    assert driven.verdict["error"].startswith("Image app:1 cannot be run: failed to create task for container")
    assert driven.verdict["error"].endswith("Name a program that the image has.")


async def test_a_refusal_that_is_not_understood_is_a_plain_failure(docker: Double, tmp_path: Path) -> None:
    docker.answer(
        run=[(125, "", "Error: a thing that nobody foresaw\n")],
        container_inspect=[GONE],
        ps=[(0, "", "")],
        version=[(0, '{"Client": {"Version": "1"}, "Server": {"Version": "1"}}', "")],
    )
    driven = await Driver(tmp_path / "x", docker.order()).run()
    assert (driven.code, driven.verdict["cause"]) == (125, "")
    assert "a thing that nobody foresaw. See whether the engine runs it by hand." in driven.verdict["error"]


async def test_a_stop_while_an_image_is_pulled(docker: Double, tmp_path: Path) -> None:
    docker.answer(image_inspect=[(1, "", "no such image")], pull=[(0, "HANG", "")])
    driver = Driver(tmp_path / "x", docker.order())
    process = await driver.start()
    await until(lambda: docker.calls("pull"))
    os.kill(process.pid, signal.SIGTERM)
    driven = await driver.end(process)
    assert (driven.code, driven.verdict["cause"]) == (125, "")
    assert docker.calls("run") == []


async def test_a_stop_of_what_ignores_it_removes_the_container(docker: Double, tmp_path: Path) -> None:
    docker.answer(run=[(0, "HANG", "")])
    driver = Driver(tmp_path / "x", docker.order(kill_timeout_s=0.2))
    process = await driver.start()
    await until(lambda: docker.calls("run"))
    os.kill(process.pid, signal.SIGTERM)
    driven = await driver.end(process)
    assert (driven.code, driven.verdict["cause"], driven.verdict["left"]) == (137, "", False)
    assert docker.calls("rm")


def test_a_stop_while_the_client_is_started_leaves_it_to_the_executor(
    docker: Double, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object) -> None:
        raise Stopped

    monkeypatch.setattr(container, "Attached", stopped)
    monkeypatch.setattr(container, "_ignore_term", lambda: None)
    driver = Driver(tmp_path / "x", docker.order())
    assert container.Job(Desk(driver.environ), docker.order()).run() == 125
    assert driver.verdict()["left"] is True


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        ("Error: localhost/nope: image not known", "not_found"),
        ('Error: short-name "nope2" did not resolve to an alias and no unqualified-search registries', "not_found"),
        ("docker: Error response from daemon: pull access denied for nope, repository does not exist", "not_found"),
        ("Error response from daemon: manifest for app:9 not found: manifest unknown", "not_found"),
        ("Error: unable to find user nobody2: no matching entries in passwd file", "not_found"),
        ("Error: unable to find network with name or ID nonet: network not found", "cannot_start"),
        ("docker: Error response from daemon: network nonet not found", "cannot_start"),
        ("Error: error setting rlimits for ready process: error setting rlimit type 7", "cannot_start"),
        ('could not select device driver "" with capabilities: [[gpu]]', "cannot_start"),
        ("Error: names must match [a-zA-Z0-9][a-zA-Z0-9_.-]*: invalid argument", "validation"),
        ("docker: invalid reference format", "validation"),
        ("unknown flag: --nope", "validation"),
        ('Error: workdir "/none/x" does not exist on container d1bb', "validation"),
        ("Error response from daemon: Minimum memory limit allowed is 6MB", "validation"),
        ("toomanyrequests: You have reached your pull rate limit", "rate_limited"),
        ("Error: pinging container registry localhost: dial tcp: connect: connection refused", "infrastructure"),
        ("dial tcp: lookup registry-1.docker.io on 10.255.255.53:53: no such host", "infrastructure"),
        ("Error: writing blob: no space left on device", "infrastructure"),
        (AWAY, "infrastructure"),
        ("podman pull gave no answer within 30 s", "infrastructure"),
        ("a thing that nobody foresaw", ""),
    ],
)
def test_what_engines_say_means(said: str, cause: str) -> None:
    found, sentence = meaning(telling_line(said.encode()), "Image app:1 cannot be run")
    assert found == cause
    assert sentence.startswith("Image app:1 cannot be run: ")
    assert "Error:" not in sentence


def test_the_telling_line() -> None:
    noisy = b'Trying to pull\nlevel=warning msg="Failed. Error: x"\nError: manifest unknown\n\nmore\n'
    assert telling_line(noisy) == "manifest unknown"
    assert telling_line(b"plain\nlast\n") == "last"
    assert telling_line(b"") == ""
    assert len(telling_line(b"Error: " + b"x" * 1000)) == 301


def test_what_a_client_said_last_is_passed_on_when_it_is_given_up(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    script, said = tmp_path / "engine", tmp_path / "said"
    script.write_text(f"#!/bin/sh\necho last words >&2\ntouch {said}\nexec sleep 1000\n")
    script.chmod(0o755)
    attached = Attached(str(script), [], os.environ)
    deadline_s = time.monotonic() + PATIENCE_S
    while not said.exists():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)
    attached.kill()
    assert capfd.readouterr().err == "last words\n"
