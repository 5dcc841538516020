"""Container engines for tests: the real one of this machine, and a double that answers as they were recorded."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

from node.drivers.container.run import Order, Settings
from node.env import Env
from node.payloads.container import Container
from node.worker.executors.container import ContainerExecutor
from node.worker.executors.port import Setup
from node.worker.supervision import ProcessSupervisor
from node.worker.worker import WorkerNode
from tests.node.leader_kit import machine_node, resources
from tests.node.test_worker_real import Machine
from tests.node.worker_kit import HERE, FakeLink

IMAGE = "localhost/cortex-busybox"
PROGRAMS = ("sh", "echo", "sleep", "cat", "touch", "id", "env", "pwd")
# In a container of its own a machine may grant less: no default limits above its own, no other cgroups.
CONFINED = {
    "runtime": "runc",
    "network": "host",
    "ulimits": {"nofile": "1024:1024", "nproc": "1024:1024"},
}
INSTALL = "no container engine runs here: apt-get install podman runc busybox-static, as root"
AWAY = "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?"


@dataclass(frozen=True)
class Real:
    """An engine that runs containers here, on images of the tests' own."""

    options: Mapping[str, Any]

    def executor(self, data: Path, **options: Any) -> ContainerExecutor:
        """One that was tried."""
        executor = ContainerExecutor(Setup(data, environment(), {**self.options, **options}))
        offer = executor.probe()
        assert offer.available, offer.reason
        return executor

    def call(self, *arguments: str) -> str:
        environ = {**os.environ, **self.options["environment"]}
        return subprocess.run(
            ["podman", *arguments],
            env=environ,
            check=True,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
        ).stdout

    def names(self) -> list[str]:
        """Of all containers, running or not."""
        return self.call("ps", "--all", "--format", "{{.Names}}").split()


def environment() -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")}


@contextmanager
def real_engine() -> Iterator[Real]:
    """With its image, and without containers afterwards; skips the test where there is none."""
    # Not below tmp_path: where the paths of its sockets are long, Podman waits for 20 s at the end of a container.
    folder = Path(tempfile.mkdtemp(prefix="engine-"))
    try:
        made = _real_engine(folder)
        try:
            yield made
        finally:
            made.call("rm", "--all", "--force", "--time", "0")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _real_engine(folder: Path) -> Real:
    busybox = shutil.which("busybox")
    if shutil.which("podman") is None or busybox is None:
        pytest.skip(INSTALL)
    stores = folder / "storage.conf"
    stores.write_text(f'[storage]\ndriver = "vfs"\nrunroot = "{folder}/run"\ngraphroot = "{folder}/graph"\n')
    environ = {"CONTAINERS_STORAGE_CONF": str(stores)}
    tar = folder / "image.tar"
    with tarfile.open(tar, "w") as image:
        image.add(busybox, "bin/busybox")
        for name in PROGRAMS:
            link = tarfile.TarInfo(f"bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            image.addfile(link)
    for options in ({}, CONFINED):
        real = Real({"engine": "podman", "environment": environ, **options})
        try:
            real.call("import", "--quiet", str(tar), IMAGE)
        except subprocess.CalledProcessError as error:
            pytest.skip(f"{INSTALL} ({error.stderr.strip()[-200:]})")
        offer = ContainerExecutor(Setup(folder, environment(), real.options)).probe()
        if offer.available:
            return real
    pytest.skip(f"{INSTALL} ({offer.reason})")


class ContainerMachine(Machine):
    """A worker that runs containers."""

    def __init__(self, folder: Path, executor: ContainerExecutor) -> None:
        self.folder = folder
        self.link = FakeLink()
        env = Env.real(folder)
        self.supervisor = ProcessSupervisor(env)
        self.failures: list[Exception] = []
        node = machine_node(slots=2)
        node.slots.add(type=executor.type, count=4)
        self.worker = WorkerNode(
            env,
            node,
            self.link,  # type: ignore[arg-type,unused-ignore]
            self.supervisor,
            [executor],
            resources,
            lambda: [HERE],
            on_fatal=self.failures.append,
        )


_SCRIPT = """#!{python} -SE
import json, os, sys, time
home = {home!r}
words = sys.argv[1:]
verb = " ".join(words[:2]) if words[0] in ("image", "container") else words[0]
with open(home + "/calls.jsonl", "a") as log:
    log.write(json.dumps({{"argv": words, "env": dict(os.environ)}}) + "\\n")
with open(home + "/answers.json") as file:
    answers = json.load(file).get(verb, [[0, "", ""]])
with open(home + "/calls.jsonl") as log:
    calls = [json.loads(line)["argv"] for line in log]
count = sum(1 for each in calls if each[: len(verb.split())] == verb.split())
code, out, error = answers[min(count, len(answers)) - 1]
while out == "HANG":
    with open(home + "/calls.jsonl") as log:
        if any(json.loads(line)["argv"][0] == "rm" for line in log):
            sys.exit(137)
    time.sleep(0.02)
sys.stdout.write(out)
sys.stderr.write(error)
sys.exit(code)
"""


class Double:
    """A program called podman or docker. Each verb has a list of answers, of which the last one stays."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.name = name
        self.program = folder / "bin" / name
        self.program.parent.mkdir(parents=True)
        self.program.write_text(_SCRIPT.format(python=sys.executable, home=str(folder)))
        self.program.chmod(0o755)
        self.answer()

    def answer(self, **answers: list[tuple[int, str, str]]) -> None:
        """A space in a verb is written as an underscore."""
        (self.folder / "answers.json").write_text(
            json.dumps({verb.replace("_", " "): said for verb, said in answers.items()})
        )

    def calls(self, verb: str = "") -> list[list[str]]:
        try:
            lines = (self.folder / "calls.jsonl").read_text().splitlines()
        except FileNotFoundError:
            return []
        return [argv for line in lines if (argv := json.loads(line)["argv"]) and argv[0] == (verb or argv[0])]

    def environ(self, verb: str) -> dict[str, str]:
        """Of the last call."""
        lines = [json.loads(line) for line in (self.folder / "calls.jsonl").read_text().splitlines()]
        found: dict[str, str] = next(line["env"] for line in reversed(lines) if line["argv"][0] == verb)
        return found

    def order(self, container: Container | None = None, **changes: Any) -> Order:
        order = Order(
            engine=self.name,
            program=str(self.program),
            engine_environ={"PATH": "/usr/bin:/bin"},
            place="0123456789abcdef",
            hidden=(str(self.folder / "data"),),
            settings=Settings(),
            container=container or Container(image="app:1"),
        )
        return msgspec.structs.replace(order, **changes)


@dataclass
class Driven:
    """How a driver ended."""

    code: int
    out: bytes
    error: str
    verdict: dict[str, Any]


class Driver:
    """node.drivers.container by itself, as the supervisor runs it."""

    def __init__(self, folder: Path, order: Order) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        (folder / "order.json").write_bytes(msgspec.json.encode(order))
        self.environ = {
            "PATH": "/usr/bin:/bin",
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            "CORTEX_TASK": "t1",
            "CORTEX_FENCE": "10",
            "CORTEX_ORDER": str(folder / "order.json"),
            "CORTEX_EVENTS": str(folder / "events.jsonl"),
            "CORTEX_VERDICT": str(folder / "verdict.json"),
        }

    async def start(self) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "node.drivers.container",
            env=self.environ,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    async def end(self, process: asyncio.subprocess.Process) -> Driven:
        out, error = await asyncio.wait_for(process.communicate(), 60)
        assert process.returncode is not None
        return Driven(process.returncode, out, error.decode(), self.verdict())

    async def run(self) -> Driven:
        return await self.end(await self.start())

    def verdict(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self._folder / "verdict.json").read_text())
        return found
