"""Settings of the section `[executor.shell]`."""

from __future__ import annotations

import os
import pwd
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field

from node.core.faults import Code, Fault

_UNITS_REMEDY = "Give a whole number, 0 for no bound."
_RLIMITS = {"open_files": "nofile", "processes": "nproc", "file_bytes": "fsize"}
_AMOUNTS = ("pids", "memory_bytes", "cpu_millis", *_RLIMITS)
_LIMIT = 1 << 62
_PIDS = 512


@dataclass(frozen=True, slots=True)
class User:
    """Whom commands in a sandbox run as, where the daemon is root."""

    name: str
    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class Options:
    """What a machine's configuration says of its shell tasks. 0 = no bound."""

    bwrap: str  # path; empty = it is not installed
    user: User | None  # None: the daemon's own, which is not root
    pids: int = _PIDS  # processes and threads at once, in a sandbox
    memory_bytes: int = 0  # in a sandbox, of tasks that reserve none
    cpu_millis: int = 0  # likewise
    rlimits: Mapping[str, int] = field(default_factory=dict)  # at every level, by the kernel's name


def read(section: Mapping[str, object]) -> Options:
    """Raises Fault that names the setting."""
    known = ("bwrap", "user", *_AMOUNTS)
    unknown = sorted(set(section) - set(known))
    if unknown:
        raise _bad(unknown[0], "there is no such setting", f"Known are {', '.join(known)}.")
    amounts = {name: _amount(name, section[name]) for name in _AMOUNTS if name in section}
    rlimits = {_RLIMITS[name]: value for name, value in amounts.items() if name in _RLIMITS and value}
    rest = {name: value for name, value in amounts.items() if name not in _RLIMITS}
    return Options(
        _program(str(section.get("bwrap", "bwrap"))), _user(section.get("user")), rlimits=rlimits, **rest
    )


def _amount(name: str, value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _LIMIT:
        raise _bad(name, f"{value!r} is no amount", _UNITS_REMEDY)
    return value


def _program(name: str) -> str:
    found = shutil.which(name) or ""
    return os.path.realpath(found) if found else ""


def _user(name: object) -> User | None:
    if os.geteuid() != 0:
        if name is not None:
            raise _bad("user", "only a daemon of root can run commands as another user", "Leave it out.")
        return None
    wanted = "nobody" if name is None else str(name)
    try:
        entry = pwd.getpwuid(int(wanted)) if wanted.isdecimal() else pwd.getpwnam(wanted)
    except KeyError:
        raise _bad("user", f"this machine has no user {wanted!r}", "Name one of /etc/passwd.") from None
    if entry.pw_uid == 0 or entry.pw_gid == 0:
        raise _bad("user", f"{wanted} is root, or in its group", "Name a user without rights, such as nobody.")
    return User(entry.pw_name, entry.pw_uid, entry.pw_gid)


def _bad(name: str, why: str, remedy: str) -> Fault:
    return Fault(Code.INVALID, f"Setting {name} of [executor.shell] cannot be used: {why}.", remedy)
