"""What goes before a command to run it at a sandbox level: `bwrap` with its arguments, and `setpriv`.

bwrap is run by the daemon's user, who alone can reach the data folder; where that is root, setpriv gives up its
rights within the sandbox, before the command.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from glob import glob
from pathlib import Path

from node.supervisor import wire
from node.supervisor.confine import CHANGED
from node.worker.sandbox.options import User

# Tells by the words of bwrap what that finds out by itself where it takes a descriptor.
_SAME = (
    f'[ . -ef /proc/self/fd/{wire.FOLDER_FD} ] || {{ echo "bwrap: {CHANGED}" >&2; exit 1; }}; '
    f'exec {wire.FOLDER_FD}<&-; exec "$@"'
)
_SETPRIV = "/usr/bin/setpriv"
_PRLIMIT = "/usr/bin/prlimit"
_TIMEOUT_S = 10.0
_SHARED_TEMPORARY = ("/tmp", "/var/tmp", "/dev/shm")
_USR_LINKS = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
# What the loader, names of users and the time of day need.
_ETC = ("alternatives", "group", "ld.so.cache", "localtime", "nsswitch.conf", "passwd")
_GPU_DEVICES = ("/dev/nvidia*", "/dev/dri", "/dev/kfd")


@dataclass(frozen=True, slots=True)
class Place:
    """What a sandbox is built around."""

    bwrap: str
    user: User | None
    data: Path  # the daemon's folder
    closed: Path  # the folder that is hidden: that, or one above
    hidden: Sequence[Path] = ()  # files elsewhere that nobody is to read
    by_descriptor: bool = True  # whether bwrap takes a directory that is open


def default(place: Place, cwd: str) -> list[bytes]:
    """The machine's files, read-only; only `cwd` (empty = a folder of its own) can be written."""
    found = [place.bwrap, "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--die-with-parent"]
    # The machine's devices in one mount: a /dev of its own is one for each, and takes as long as all the rest.
    found += ["--ro-bind", "/", "/", "--dev-bind", "/dev", "/dev", "--proc", "/proc"]
    for folder in _SHARED_TEMPORARY:
        if os.path.isdir(folder) and not os.path.islink(folder):
            found += ["--perms", "1777", "--tmpfs", folder]
    if cwd:
        found += ["--dir", os.path.dirname(cwd), *_bind(place, cwd), cwd]
    # After the working directory, which may be above it.
    found += ["--perms", "0755", "--tmpfs", str(place.closed)]
    for path in place.hidden:
        found += ["--ro-bind", os.devnull, str(path)]
    return _finished(place, found, cwd, [])


def strict(place: Place, cwd: str, *, gpu: bool, filtered: bool) -> list[bytes]:
    """Only /usr, what it needs of /etc, and `cwd`; no network; with a filter of system calls."""
    found = [
        place.bwrap,
        "--unshare-pid",
        "--unshare-ipc",
        "--unshare-uts",
        "--unshare-net",
        "--unshare-cgroup-try",
    ]
    if place.user is None:
        found += ["--unshare-user"]
    found += ["--die-with-parent", "--ro-bind", "/usr", "/usr"]
    for name in _USR_LINKS:
        path = f"/{name}"
        if os.path.islink(path):
            found += ["--symlink", os.readlink(path), path]
        elif os.path.isdir(path):
            found += ["--ro-bind", path, path]
    found += ["--dir", "/etc"]
    for name in _ETC:
        found += ["--ro-bind-try", f"/etc/{name}", f"/etc/{name}"]
    found += [*_devices(gpu), "--proc", "/proc", "--perms", "1777", "--tmpfs", "/tmp"]
    if cwd:
        found += ["--dir", os.path.dirname(cwd), *_bind(place, cwd), cwd]
    last = ["--remount-ro", "/"]
    if filtered:
        last += ["--seccomp", str(wire.FILTER_FD)]
    return _finished(place, found, cwd, last)


def takes_descriptors(bwrap: str) -> bool:
    """Whether this bubblewrap binds a directory that it is handed open. Blocks."""
    try:
        done = subprocess.run([bwrap, "--help"], capture_output=True, timeout=_TIMEOUT_S, check=False)
    except (OSError, subprocess.SubprocessError):
        return False  # its trial says why
    return b"--bind-fd" in done.stdout + done.stderr


def _bind(place: Place, cwd: str) -> list[str]:
    """To bind what the supervisor has open: by its path bwrap would look it up once more."""
    return ["--bind-fd", str(wire.FOLDER_FD)] if place.by_descriptor else ["--bind", cwd]


def _devices(gpu: bool) -> list[str]:
    # Memory that processes share, in the file system of /dev: one of its own would take half a millisecond.
    found = ["--dev", "/dev", "--chmod", "1777", "/dev/shm"]
    for pattern in _GPU_DEVICES if gpu else ():
        for path in sorted(glob(pattern)):
            found += ["--dev-bind", path, path]
    return found


def same_folder(place: Place) -> list[bytes]:
    """What else goes before a command in a sandbox: it begins in the directory that the supervisor has open."""
    return [] if place.by_descriptor else [b"/bin/sh", b"-c", _SAME.encode(), b"bwrap"]


def rlimits(limits: Mapping[str, int]) -> list[bytes]:
    """What else goes before a command in a sandbox: who spawns it reaches the sandbox's first process only."""
    words = [f"--{name}={value}:{value}" for name, value in sorted(limits.items())]
    return [os.fsencode(word) for word in (_PRLIMIT, *words, "--")] if words else []


def share(wrap: Sequence[bytes], path: str) -> list[bytes]:
    """`wrap`, in which the command may write the file `path`."""
    at = wrap.index(b"--chdir")
    words = [b"--dir", os.fsencode(os.path.dirname(path)), b"--bind", os.fsencode(path), os.fsencode(path)]
    return [*wrap[:at], *words, *wrap[at:]]


def _finished(place: Place, found: list[str], cwd: str, last: Sequence[str]) -> list[bytes]:
    """With a folder of its own in the hidden one, and the end of all privileges."""
    words = [os.fsencode(word) for word in found]
    if not cwd:
        bind = map(os.fsencode, _bind(place, os.fsdecode(wire.FOLDER)))
        words += [b"--dir", os.fsencode(place.data / "work"), *bind, wire.FOLDER]
    words += [b"--chdir", wire.FOLDER, *map(os.fsencode, last), b"--"]
    if place.user is not None:
        ids = [f"--reuid={place.user.uid}", f"--regid={place.user.gid}", "--clear-groups"]
        rest = ["--inh-caps=-all", "--bounding-set=-all", "--no-new-privs", "--"]
        words += [os.fsencode(word) for word in (_SETPRIV, *ids, *rest)]
    return words
