"""Processes of a user without rights: `nobody` where the tests run as root, else whoever runs them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from tempfile import mkdtemp

import google.protobuf
import pytest

import cortex

UID = 65534 if os.geteuid() == 0 else os.geteuid()
_ROOT = Path(__file__).parents[2]
_GROUPS = Path("/sys/fs/cgroup")


@lru_cache
def interpreter() -> str:
    """One that this user may run and that finds what this one has; empty when there is none."""
    for found in (sys.executable, f"/usr/bin/python3.{sys.version_info.minor}"):
        command = [found, "-c", "import cortex.v1.types_pb2, grpc, google.protobuf, node.cli, pytest"]
        with suppress(OSError):
            if (
                subprocess.run(as_nobody(command), env=environment(), capture_output=True, check=False).returncode
                == 0
            ):
                return found
    return ""


def environment() -> dict[str, str]:
    places = [_ROOT, *(Path(each).parent for each in cortex.__path__), Path(google.protobuf.__path__[0]).parents[1]]
    search = ":".join(map(str, dict.fromkeys(places)))
    return {"PATH": "/usr/bin:/bin", "HOME": "/", "PYTHONPATH": search, "PYTHONDONTWRITEBYTECODE": "1"}


def as_nobody(command: Sequence[str], groups: Sequence[Path] = ()) -> list[str]:
    """`command` as that user, in control groups that are its own."""
    if os.geteuid() != 0:
        return list(command)
    enter = [f"echo 0 > {folder / name}" for folder, name in map(_door, groups)]
    user = "setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all"
    # setpriv itself finds its program by rights that this one has not.
    return ["sh", "-c", "; ".join([*enter, f'exec {user} sh -c \'exec "$@"\' sh "$@"']), "sh", *command]


@contextmanager
def folder_of_nobody() -> Iterator[Path]:
    """A folder that the user can reach and owns."""
    folder = Path(mkdtemp(prefix="cortex-test-", dir="/tmp"))
    os.chown(folder, UID, -1)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@contextmanager
def delegated_groups() -> Iterator[list[Path]]:
    """Control groups of that user: for memory and processes, not for cores. Skips where there can be none."""
    name = f"cortex-test-{os.getpid()}"
    made: list[Path] = []
    try:
        for parent in _parents():
            made.append(parent / name)
            made[-1].mkdir()
            if (made[-1] / "cgroup.subtree_control").exists():  # version 2: the daemon is in one below
                _own(made[-1])
                made.append(made[-1] / "daemon")
                made[-1].mkdir()
            _own(made[-1])
    except OSError as error:
        _remove(made)
        pytest.skip(f"needs control groups that root can delegate: {error}")
    try:
        yield [each for each in made if each.name == "daemon"] or made
    finally:
        _remove(made)


def _parents() -> list[Path]:
    controllers = _GROUPS / "cgroup.controllers"
    if not controllers.exists():
        return [_GROUPS / "memory", _GROUPS / "pids"]
    (_GROUPS / "cgroup.subtree_control").write_text("+memory +pids")
    return [_GROUPS]


def _own(folder: Path) -> None:
    for path in (folder, *(folder / each for each in ("tasks", "cgroup.procs", "cgroup.subtree_control"))):
        if path.exists():
            os.chown(path, UID, -1)


def _door(folder: Path) -> tuple[Path, str]:
    return folder, "tasks" if (folder / "tasks").exists() else "cgroup.procs"


def _remove(folders: Sequence[Path]) -> None:
    for folder in reversed(folders):
        for below in [*folder.glob("cortex-*"), folder]:
            with suppress(OSError):
                below.rmdir()


def why_not() -> str:
    """Why nothing can run as that user here; empty when it can."""
    if os.geteuid() == 0 and shutil.which("setpriv") is None:
        return "needs setpriv (Debian: util-linux)"
    return "" if interpreter() else "needs an interpreter and packages that another user may read"


needs_nobody = pytest.mark.skipif(bool(why_not()), reason=why_not())


def run(
    arguments: Sequence[str], groups: Sequence[Path] = (), **variables: str
) -> subprocess.CompletedProcess[str]:
    """The interpreter with `arguments` as that user."""
    more: Mapping[str, str] = variables
    return subprocess.run(
        as_nobody([interpreter(), *arguments], groups),
        env={**environment(), **more},
        cwd="/",
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
