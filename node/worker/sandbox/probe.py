"""Whether a sandbox level works on this machine: a command in it looks for what it must not find."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

from node.supervisor import wire
from node.supervisor.cgroups import Cgroups
from node.worker.sandbox.arguments import Place

_TIMEOUT_S = 10.0
_MARK = "probe"
# Says what is wrong, one word each; nothing when all is right.
_LOOK = r"""
[ "$(id -u)" != 0 ] || echo it runs as root
[ "$(readlink /proc/self/ns/pid)" != "$3" ] || echo it sees the processes of the machine
[ ! -e "$1/probe" ] || echo it sees the data folder
[ -w . ] || echo it cannot write its directory
[ ! -w /usr ] || echo it can write /usr
while read -r name value rest; do
  case "$name$value" in CapEff:0000000000000000) ;; CapEff:*) echo it has capabilities;; esac
  case "$2:$name$value" in strict:Seccomp:0) echo no system calls are refused;; esac
done < /proc/self/status
[ "$2" = default ] || [ "$(grep -c : /proc/net/dev)" = 1 ] || echo it has a network
"""


class Tried(NamedTuple):
    available: bool
    reason: str  # why not: a cause and a remedy
    detail: str


def try_level(wrap: list[bytes], program: bytes, place: Place, *, strict: bool) -> Tried:
    """Run a command behind `wrap`, with the filter `program`. Blocks for some ten milliseconds."""
    work = place.data / "work"
    try:
        work.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".probe-", dir=work) as folder:
            if place.user is not None:
                os.chown(folder, place.user.uid, place.user.gid)
            mark = place.data / _MARK
            mark.touch(mode=0o644)
            try:
                said = _run(wrap, program, folder, str(place.data), "strict" if strict else "default")
            finally:
                mark.unlink()
    except (OSError, subprocess.SubprocessError) as error:
        said = str(error)
    if said:
        return Tried(False, f"A trial in it failed: {said[:200]}. Correct that and start the daemon again.", "")
    if strict and not program:
        machine = os.uname().machine
        return Tried(False, f"There is no filter of system calls for {machine}. Run such tasks elsewhere.", "")
    return Tried(True, "", ", ".join([_version(place.bwrap), _groups()]))


def _run(wrap: list[bytes], program: bytes, folder: str, data: str, level: str) -> str:
    """What is wrong; empty when nothing is."""
    namespace = os.readlink("/proc/self/ns/pid")
    reading, writing = os.pipe()
    held = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    try:
        os.write(writing, program)
        os.close(writing)
        numbers = {b"--seccomp": reading, b"--bind-fd": held}
        words = [os.fsencode(folder) if word == wire.FOLDER else word for word in wrap]
        for at, word in enumerate(words[:-1]):
            if word in numbers:
                words[at + 1] = str(numbers[word]).encode()
        done = subprocess.run(
            [*words, b"/bin/sh", b"-c", _LOOK.encode(), b"sh", data.encode(), level.encode(), namespace.encode()],
            cwd=folder,
            env={"PATH": "/usr/bin:/bin"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_TIMEOUT_S,
            pass_fds=(reading, held),
            check=False,
        )
    finally:
        os.close(held)
        os.close(reading)
    lines = (done.stdout + done.stderr).decode("utf-8", "replace").strip().splitlines()
    return "; ".join(lines) or ("" if done.returncode == 0 else f"exit code {done.returncode}")


def _version(bwrap: str) -> str:
    done = subprocess.run([bwrap, "--version"], capture_output=True, timeout=_TIMEOUT_S, check=False)
    return done.stdout.decode("utf-8", "replace").strip() or Path(bwrap).name


def _groups() -> str:
    """Whether memory, processes and CPU can be bounded here."""
    groups = Cgroups(f"probe-{os.getpid()}")
    try:
        groups.try_out()
        if not groups.version:
            return f"without bounds: {groups.reason}"
        return f"cgroups v{groups.version}" + ("" if groups.bounds_cpu else ", which do not bound cores")
    finally:
        groups.close()
