"""Which working directories a command may have."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from node.worker.executors.port import CannotPrepare

# Where a writable working directory would undo a sandbox.
_SYSTEM = frozenset(
    ["/", "/bin", "/boot", "/dev", "/etc", "/home", "/lib", "/lib64", "/opt", "/proc", "/root", "/run", "/sbin"]
).union(["/srv", "/sys", "/tmp", "/usr", "/var", "/var/lib", "/var/run", "/var/tmp"])
_KERNEL = ("/dev", "/proc", "/sys")


def real_folder(cwd: str, data: Path, roots: Sequence[Path], *, sandboxed: bool) -> str:
    """The directory that `cwd` names, every link resolved. Raises CannotPrepare when it is none to work in.

    Who starts the command checks that it enters this very directory: what a link names may change meanwhile.
    """
    real = os.path.realpath(cwd)
    shown = cwd if real == cwd else f"{cwd}, which is {real},"
    if is_within(real, str(data.resolve())):
        raise CannotPrepare(
            f"Working directory {shown} belongs to the daemon. Leave it out: the task gets a directory of its own."
        )
    if roots and not any(is_within(real, str(root.resolve())) for root in roots):
        named = ", ".join(map(str, roots))
        raise CannotPrepare(
            f"Working directory {shown} is outside of what this node allows ({named}). "
            "Name one below, or have its `roots` extended."
        )
    if sandboxed and (real in _SYSTEM or any(is_within(real, each) for each in _KERNEL)):
        raise CannotPrepare(
            f"Working directory {shown} belongs to the system, and a sandbox makes its own writable. "
            "Name a directory of yours, or leave it out."
        )
    return real


def is_within(path: str, folder: str) -> bool:
    """Whether `path` is `folder` or below; both absolute and without links."""
    return path == folder or path.startswith(folder.rstrip("/") + "/")
