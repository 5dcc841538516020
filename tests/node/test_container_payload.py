"""What container tasks carry, and how it becomes arguments of an engine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cortex.v1 import types_pb2 as t
from cortex.v1.cluster_pb2 import TaskRequest
from node.core import validate
from node.core.faults import Fault
from node.drivers.container.engine import DIALECTS
from node.drivers.container.run import Cannot, Order, Settings, run_arguments
from node.payloads.container import Container
from node.payloads.reading import BadPayload, read, written


def made(**payload: Any) -> Container:
    return read(json.dumps({"image": "app:1", **payload}).encode(), Container)


def order(container: Container, engine: str = "podman", **changes: Any) -> Order:
    fields: dict[str, Any] = {
        "engine": engine,
        "program": f"/usr/bin/{engine}",
        "engine_environ": {},
        "place": "p1",
        "hidden": ("/var/lib/cortex",),
        "settings": Settings(),
        "container": container,
        **changes,
    }
    return Order(**fields)


def words(container: Container, engine: str = "podman", **changes: Any) -> list[str]:
    found, _ = run_arguments(order(container, engine, **changes), "t1", "10", "cortex-t1-10", DIALECTS[engine])
    return found


OURS = ["--label", "cortex.task=t1", "--label", "cortex.fence=10", "--label", "cortex.place=p1"]
BEGIN = ["--name", "cortex-t1-10", "--pull", "never", "--log-driver", "none"]


@pytest.mark.parametrize(
    ("payload", "sentence"),
    [
        ({"image": ""}, "image is empty"),
        ({"image": "-v"}, "which is no name of an image"),
        ({"image": "a b"}, "which is no name of an image"),
        ({"image": "a" * 401}, "image has 401 characters, the limit is 400."),
        ({"image": 7}, "image: expected `str`, got `int`."),
        ({"nope": 1}, "nope is no key of it"),
        ({"command": [""]}, "command[0] is empty"),
        ({"args": ["a\0"]}, "args[0] has a NUL byte."),
        ({"args": ["a" * 131072]}, "args[0] is longer than the kernel's limit of 131071 bytes."),
        ({"args": ["a"] * 1001}, "args has 1001 words, the limit is 1000."),
        ({"mounts": [{"source": "x", "target": "/y"}]}, "mounts[0].source is 'x', it is an absolute path"),
        ({"mounts": [{"source": "/a/../etc", "target": "/y"}]}, "it is an absolute path without `..`."),
        ({"mounts": [{"source": "/a,ro=x", "target": "/y"}]}, "no engine takes commas"),
        ({"mounts": [{"source": "/a", "target": "/y\n"}]}, "no engine takes commas"),
        ({"mounts": [{"source": "/a", "target": "/"}]}, "mounts[0].target is the container's root."),
        ({"mounts": [{"source": "/a", "target": "/y"}, {"source": "/b", "target": "/y/"}]}, "the target /y twice"),
        ({"mounts": [{"source": "/a", "target": "/y"}] * 51}, "mounts has 51 items, the limit is 50."),
        ({"labels": {"cortex.task": "x"}}, "those that begin with cortex. belong to Cortex."),
        ({"labels": {"a=b": "x"}}, "labels has the name 'a=b'"),
        ({"labels": {"a": "x\n"}}, "The label a is longer than 1000 characters, or has controls."),
        ({"labels": {f"n{i}": "" for i in range(101)}}, "labels has 101 items, the limit is 100."),
        ({"memory": 1}, "memory is 1, it goes from 6291456 to 1125899906842624."),
        ({"memory": "much"}, "memory is 'much', it is a number of bytes, or as 512MB or 2GiB."),
        ({"memory": -1}, "memory is -1, it goes from 6291456"),
        ({"cpus": -1}, "cpus is -1.0, it goes from 0.01 to 4096.0."),
        ({"cpus": 1e300}, "cpus is 1e+300"),
        ({"pids": -1}, "pids is -1, it goes from 0 to 4194304."),
        ({"gpu": "a,b c"}, "gpu is 'a,b c'"),
        ({"gpu": 65}, "gpu is 65, it goes from 0 to 64."),
        ({"pull": "sometimes"}, "pull: invalid enum value 'sometimes'."),
        ({"network": "container:x"}, "it is none, host or the name of a network."),
        ({"user": "a b"}, "user is 'a b'"),
        ({"user": ":x"}, "user is ':x'"),
        ({"workdir": "here"}, "workdir is 'here', it is an absolute path"),
    ],
)
def test_bad_payloads_are_refused_before_the_log(payload: dict[str, Any], sentence: str) -> None:
    spec = t.TaskSpec(type=t.TASK_TYPE_CONTAINER, payload=json.dumps({"image": "app:1", **payload}).encode())
    with pytest.raises(Fault) as refusal:
        validate.complete(TaskRequest(spec=spec), "t1")
    assert refusal.value.message.startswith("The payload of a container task is wrong: ")
    assert sentence in refusal.value.message
    assert len(refusal.value.message) < 1000


def test_words_that_no_container_can_be_given() -> None:
    for field, spec in (
        ("argv[1]", {"argv": [b"a", b"\xff"]}),
        ("shell_command", {"shell_command": b"\xff"}),
        ("A in env", {"env": [t.EnvVar(name="A", value=b"\xff")]}),
    ):
        made = t.TaskSpec(type=t.TASK_TYPE_CONTAINER, payload=b'{"image": "a"}', **spec)
        with pytest.raises(Fault) as refusal:
            validate.complete(TaskRequest(spec=made), "t1")
        assert refusal.value.message == f"{field} is not UTF-8, and a container can be given nothing else."


def test_a_task_without_an_image_or_a_payload_is_refused() -> None:
    for payload in (b"", b"{}", b"[]", b"\xff", b'{"image"'):
        with pytest.raises(Fault):
            validate.complete(TaskRequest(spec=t.TaskSpec(type=t.TASK_TYPE_CONTAINER, payload=payload)), "t1")


@pytest.mark.parametrize(
    ("given", "size_bytes"),
    [
        (0, 0),
        (6291456, 6291456),
        ("512MB", 512_000_000),
        ("2GiB", 2**31),
        ("8000000", 8_000_000),
        ("6.5 MiB", 6815744),
    ],
)
def test_sizes_of_memory(given: int | str, size_bytes: int) -> None:
    assert made(memory=given).memory_bytes == size_bytes


def test_the_canonical_bytes_say_the_same() -> None:
    asked = made(args=["a"], mounts=[{"source": "/a", "target": "/b"}], user=1000, gpu="all", cpus=0.5)
    assert read(written(asked), Container) == asked


@pytest.mark.parametrize("engine", sorted(DIALECTS))
def test_the_least_that_can_be_asked_for(engine: str) -> None:
    assert words(made(), engine) == [*BEGIN, *OURS, "app:1"]


def test_all_that_can_be_asked_for() -> None:
    asked = made(
        command=["/bin/app", "serve"], args=["--fast"], labels={"who": "me"}, memory="1GiB", cpus=1.5, pids=100,
        network="none", user="app:staff", workdir="/srv", read_only=True, init=True, gpu="0,1",
    )  # fmt: skip
    settings = Settings("runc", "host", ("--cap-drop", "all"), (), {"nofile": "1024:1024"})
    common = [
        *BEGIN, "--label", "who=me", *OURS, "--runtime", "runc", "--network", "none",
        "--ulimit", "nofile=1024:1024", "--memory", "1073741824b", "--cpus", "1.5", "--pids-limit", "100",
    ]  # fmt: skip
    last = ["--init", "--entrypoint", "/bin/app", "--cap-drop", "all", "app:1", "serve", "--fast", "x"]
    changes: dict[str, Any] = {"settings": settings, "command": ("x",)}
    cdi = ["--device", "nvidia.com/gpu=0", "--device", "nvidia.com/gpu=1"]
    who = ["--user", "app:staff", "--workdir", "/srv", "--read-only"]
    assert words(asked, "podman", **changes) == [*common, *cdi, *who, *last]
    gpus = ["--gpus", '"device=0,1"']
    assert words(asked, "docker", **changes) == [*common, *gpus, *who, "--tmpfs", "/tmp", *last]


def test_limits_come_from_the_requests_when_absent() -> None:
    asks = {"memory_bytes": 10**9, "cpu_millis": 2500, "gpus": 2}
    limits = ["--memory", "1000000000b", "--cpus", "2.5"]
    assert words(made(), "docker", **asks) == [*BEGIN, *OURS, *limits, "--gpus", "2", "app:1"]
    own = words(made(memory="16MiB", cpus=1, gpu="all"), "docker", **asks)
    assert own == [*BEGIN, *OURS, "--memory", "16777216b", "--cpus", "1", "--gpus", "all", "app:1"]


def test_a_shell_string_is_for_the_images_sh() -> None:
    assert words(made(), shell="echo $A")[-5:] == ["--entrypoint", "/bin/sh", "app:1", "-c", "echo $A"]
    with pytest.raises(Cannot, match="Both a shell string and a command are given"):
        words(made(command=["a"]), shell="b")


def test_values_go_by_the_environment_but_where_they_would_steer_the_engine() -> None:
    env = (("SECRET", "s"), ("PATH", "/x"), ("DOCKER_HOST", "tcp://evil"), ("http_proxy", "p"))
    found, environ = run_arguments(order(made(), env=env), "t1", "10", "n", DIALECTS["podman"])
    named = [found[at + 1] for at, word in enumerate(found) if word == "--env"]
    assert named == ["SECRET", "PATH=/x", "DOCKER_HOST=tcp://evil", "http_proxy=p"]
    assert environ == {"SECRET": "s"}


def test_mounts_stay_below_the_roots_also_through_links(tmp_path: Path) -> None:
    root, data = tmp_path / "root", tmp_path / "root/cortex"
    (root / "in").mkdir(parents=True)
    data.mkdir()
    (root / "out").symlink_to("/etc")
    (tmp_path / "alias").symlink_to(root)

    def mount(source: Path, roots: tuple[str, ...] = (str(tmp_path / "alias"),), **changes: Any) -> str:
        asked = made(mounts=[{"source": str(source), "target": "/x", **changes}])
        return words(asked, settings=Settings(roots=roots), hidden=(str(data),))[-2]

    assert mount(root / "in") == f"type=bind,source={root}/in,target=/x"
    assert mount(tmp_path / "alias/in", read_only=True) == f"type=bind,source={root}/in,target=/x,readonly"
    for source, cause, sentence in (
        (root / "out", "cannot_start", "may not be mounted on this node: it is not below"),
        (Path("/etc"), "cannot_start", "may not be mounted on this node"),
        (Path(f"{root}-beside"), "cannot_start", "may not be mounted on this node"),
        (root / "absent", "not_found", "does not exist on this node"),
        (data / "secret", "cannot_start", "holds what Cortex keeps on this node"),
        (root, "cannot_start", "holds what Cortex keeps on this node"),
    ):
        with pytest.raises(Cannot) as refusal:
            mount(source)
        assert (refusal.value.cause, sentence in refusal.value.sentence) == (cause, True)
    with pytest.raises(Cannot, match="this node allows no mounts at all") as refusal:
        mount(root / "in", roots=())
    assert f'Set roots = ["{root / "in"}"]' in refusal.value.sentence


def test_words_that_are_no_payload() -> None:
    with pytest.raises(BadPayload, match="It is not a JSON object"):
        read(b"{", Container)
