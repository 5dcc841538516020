"""The executor of container tasks: engines that are found and tried, orders, leftovers. Against doubles."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cortex.v1 import types_pb2 as t
from node.core.faults import Fault
from node.drivers.container.engine import EngineError
from node.worker.executors.container import ContainerExecutor, key_of, place_of
from node.worker.executors.port import CannotPrepare, Setup
from node.worker.port import AttemptKey
from tests.node.container_kit import AWAY, Double
from tests.node.worker_kit import assignment

PODMAN = (0, '{"Client": {"Version": "4.3.1"}}', "")
DOCKER = (0, '{"Client": {"Version": "27"}, "Server": {"Version": "28.2.2"}}', "")
TRIED = (
    127,
    "",
    'Error: runc: exec: "/.cortex-trial": stat /.cortex-trial: no such file or directory\n',
)
FOUND = (0, "sha256:abc\nsha256:def\n", "")


def executor(*doubles: Double, data: Path = Path("/data"), **options: Any) -> ContainerExecutor:
    path = ":".join(str(double.program.parent) for double in doubles)
    return ContainerExecutor(Setup(data, {"PATH": path or "/nonexistent"}, options))


@pytest.fixture
def podman(tmp_path: Path) -> Double:
    double = Double(tmp_path / "p", "podman")
    double.answer(version=[PODMAN], image_ls=[FOUND], run=[TRIED])
    return double


@pytest.fixture
def docker(tmp_path: Path) -> Double:
    double = Double(tmp_path / "d", "docker")
    double.answer(version=[DOCKER], image_ls=[FOUND], run=[TRIED])
    return double


def test_an_engine_is_tried_with_an_image_that_is_there(podman: Double, docker: Double) -> None:
    offer = executor(podman, docker, runtime="runc", ulimits={"nofile": "1:2"}).probe()
    assert (offer.available, offer.detail, offer.reason) == (True, "podman 4.3.1", "")
    (run,) = podman.calls("run")
    assert run[1:3] == ["--name", f"cortex-trial-{place_of(Path('/data'))}"]
    for words in (["--runtime", "runc"], ["--ulimit", "nofile=1:2"], ["--pull", "never"]):
        assert run[run.index(words[0]) + 1] == words[1]
    assert run[-3:] == ["--entrypoint", "/.cortex-trial", "sha256:abc"]
    assert podman.calls()[-1][0] == "rm"
    assert docker.calls() == []


def test_without_an_image_nothing_is_run(podman: Double) -> None:
    podman.answer(version=[PODMAN])
    offer = executor(podman).probe()
    assert (offer.available, offer.detail) == (True, "podman 4.3.1; no image is here to try it with")
    assert podman.calls("run") == []


def test_the_next_engine_is_tried_and_all_reasons_are_told(podman: Double, docker: Double) -> None:
    podman.answer(version=[PODMAN], image_ls=[FOUND], run=[(126, "", "Error: error setting rlimit type 7\n")])
    assert executor(podman, docker).probe().detail == "docker 28.2.2"
    docker.answer(version=[(1, '{"Client": {"Version": "28"}, "Server": null}', AWAY)])
    offer = executor(podman, docker).probe()
    assert not offer.available
    assert "podman: a container does not start: error setting rlimit type 7." in offer.reason
    assert "docker: docker version failed: Cannot connect to the Docker daemon" in offer.reason
    assert "?." not in offer.reason
    assert offer.reason.endswith("in [executor.container] and restart the daemon.")
    assert "Set ulimits = " in offer.reason


def test_a_configured_engine_is_the_only_one(podman: Double, docker: Double) -> None:
    assert executor(podman, docker, engine="docker").probe().detail == "docker 28.2.2"
    assert executor(engine=str(docker.program)).probe().detail == "docker 28.2.2"
    offer = executor(podman, engine="/nonexistent/docker").probe()
    assert offer.reason.startswith("There is no container engine on this machine. Install podman or docker, or")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"engine": "rkt"}, "[executor.container] engine cannot be used: it is 'rkt'."),
        ({"nope": 1}, "[executor.container] cannot be used: Object contains unknown field `nope`."),
        ({"roots": "/a"}, "[executor.container] cannot be used: Expected `array`, got `str` - at `$.roots`."),
        ({"roots": ["a"]}, "[executor.container] roots cannot be used: 'a' is no absolute path."),
        ({"ulimits": {"nofile": "x"}}, "[executor.container] ulimits cannot be used: nofile is 'x'."),
        ({"options": ["a\0"]}, "[executor.container] options cannot be used: a word has a NUL byte."),
    ],
)
def test_settings_are_checked_by_name(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(Fault) as refusal:
        executor(**options)
    assert refusal.value.message == sentence
    assert refusal.value.remedy


def test_an_order_has_all_that_the_driver_needs(podman: Double) -> None:
    made = executor(podman, roots=["/srv"], environment={"X": "y"})
    with pytest.raises(CannotPrepare, match="There is no container engine on this node"):
        made.prepare(assignment(type=t.TASK_TYPE_CONTAINER, payload=b'{"image": "a"}'))
    made.probe()
    asked = assignment(
        type=t.TASK_TYPE_CONTAINER,
        argv=[b"echo", b"hi"],
        payload=b'{"image": "a"}',
        env=[t.EnvVar(name="PATH", value=b"/task")],
        requests=t.Requests(memory_bytes=5, cpu_millis=6, gpus=7),
    )
    command = made.prepare(asked)
    assert command.argv[1:] == [b"-I", b"-m", b"node.drivers.container"]
    assert command.env[b"PATH"].decode() == str(podman.program.parent)
    assert command.env[b"CORTEX_TASK"] == b"t1"
    assert command.cwd == ""
    order = json.loads(command.order or b"")
    assert (order["program"], order["engine"], order["place"]) == (
        str(podman.program),
        "podman",
        place_of(Path("/data")),
    )
    assert (order["command"], order["kill_timeout_s"]) == (["echo", "hi"], 5.0)
    assert (order["memory_bytes"], order["cpu_millis"], order["gpus"]) == (5, 6, 7)
    assert dict(order["env"])["PATH"] == "/task"
    assert order["settings"]["roots"] == ["/srv"]
    assert order["engine_environ"]["X"] == "y"
    asked.spec.argv[1] = b"\xff"
    with pytest.raises(CannotPrepare, match="is not UTF-8"):
        made.prepare(asked)


def test_only_what_no_attempt_holds_is_removed(podman: Double) -> None:
    made = executor(podman)
    made.adopt([])
    assert podman.calls() == []
    made.probe()
    names = ("cortex-a-1", "cortex-b-c-22,other/link", "mine", "cortex-trial-0123abcdabcdabcd", "cortex-c-3")
    podman.answer(ps=[(0, "\n".join(names), "")])
    count = len(podman.calls("rm"))
    made.adopt([AttemptKey("a", 1)])
    assert podman.calls("ps")[-1][3:5] == ["--filter", f"label=cortex.place={place_of(Path('/data'))}"]
    assert [argv[-1] for argv in podman.calls("rm")[count:]] == ["cortex-b-c-22", "cortex-c-3"]


def test_an_engine_that_never_worked_is_not_asked_again_and_again(docker: Double) -> None:
    away = (1, "", AWAY)
    docker.answer(version=[away], ps=[away])
    made = executor(docker)
    assert not made.probe().available
    made.adopt([])
    docker.answer(version=[DOCKER], ps=[away])
    assert made.probe().available
    with pytest.raises(EngineError):
        made.adopt([])


def test_a_removal_that_cannot_be_checked_is_none(docker: Double) -> None:
    made = executor(docker)
    made.probe()
    refused = (1, "", "Error response from daemon: No such container: cortex-t-1\n")
    docker.answer(rm=[refused], ps=[(0, "", "")])
    made.remove(AttemptKey("t", 1), b"")
    docker.answer(rm=[refused], ps=[(0, "cortex-t-1\n", "")])
    with pytest.raises(EngineError, match="docker does not remove cortex-t-1"):
        made.remove(AttemptKey("t", 1), b"")
    docker.answer(rm=[(1, "", AWAY)], ps=[(1, "", AWAY)])
    with pytest.raises(EngineError, match="docker ps failed"):
        made.remove(AttemptKey("t", 1), b"")


def test_names_of_containers() -> None:
    assert key_of("cortex-a-b-12") == AttemptKey("a-b", 12)
    for name in ("cortex-12", "other-a-12", "cortex-a-x", "cortex--5"):
        assert key_of(name) is None
    assert place_of(Path("/a")) != place_of(Path("/b"))
