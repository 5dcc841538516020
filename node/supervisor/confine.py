"""What the programs around a command say when it never began."""

from __future__ import annotations

_CODES = frozenset({1, 126, 127})
_WORDS = 300
# Of a working directory that its program was handed and does not find under the name that it was given with.
CHANGED = "Race condition binding dirfd"
WHY_CHANGED = (
    "The command cannot start: its working directory became another one while it began. "
    "Name a directory that stays what it is."
)


def sandbox_refusal(code: int, stderr: bytes) -> str:
    """Why a command in a sandbox did not start; empty when it did, as far as its exit code and first words tell."""
    line = stderr.split(b"\n", 1)[0].decode("utf-8", "replace")
    program, colon, why = line.partition(": ")
    if code not in _CODES or not colon or program not in ("bwrap", "setpriv", "prlimit"):
        return ""
    if why.startswith(CHANGED):
        return WHY_CHANGED
    return (
        f"The command cannot start in its sandbox: {why[:_WORDS]}. It has only what its level shows it of the node."
    )
