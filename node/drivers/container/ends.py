"""What the end of a container that ran, or of one that was taken away, means. Pure."""

from __future__ import annotations

import re
import signal

_SIGNALS = range(129, 160)
"""Exit codes that stand for a signal, which is 128 less."""
# What a runtime itself writes to the container's stderr when the kernel does not take the program.
_NO_PROGRAM = re.compile(
    r"(exec (?P<path>\S+)|standard_init_linux.go:\d+: exec user process caused): exec format error"
)
# What engines say before they run an image of another platform.
_WARNING = re.compile(r"^WARNING: .*platform.*\n")
_TAKEN = re.compile(r"already in use", re.IGNORECASE)


def by_signal(code: int) -> tuple[str, str]:
    """The cause of an end that nobody ordered, and a sentence; nothing where no signal was it."""
    if code not in _SIGNALS:
        return "", ""
    number = code - 128
    try:
        name = f" ({signal.Signals(number).name})"
    except ValueError:
        name = ""
    said = f"The container was ended by signal {number}{name}, which Cortex did not send."
    return "signal", f"{said} See who stopped it on the node, or why its program ends so."


def taken_away() -> tuple[str, str]:
    said = "The container was removed while it ran, and Cortex did not do that."
    return "signal", f"{said} See who runs `rm` or `prune` on the node."


def no_program(said: str, platform: str, machine: str) -> str:
    """What is wrong with a program that the kernel refused, by all that its container wrote; empty = it did not."""
    found = _NO_PROGRAM.fullmatch(_WARNING.sub("", said))
    if found is None:
        return ""
    path = found["path"] or "Its program"
    if platform and platform != machine:
        why = f"the image is made for {platform}, the node is {machine}"
        return f"{path} is not a program for this machine: {why}. Build or pull it for that."
    return f"{path} is no program: exec format error. Give a script a first line such as #!/bin/sh."


def name_taken(said: str, name: str) -> str:
    """A sentence where the engine has another container of that name."""
    if not _TAKEN.search(said) or name not in said:
        return ""
    return f"There is another container {name} on this node. See whose it is, then remove it."
