"""A supervisor that calls a command unkillable 0.3 s after KILL, and ends nothing while `DATA/held` is there.

A process in uninterruptible sleep cannot be had everywhere; one that signals do not reach looks the same from here.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable


def withheld(sound: Callable[[int, int], None], held: str) -> Callable[[int, int], None]:
    def send(target: int, number: int) -> None:
        if number not in (signal.SIGTERM, signal.SIGKILL) or not os.path.exists(held):
            sound(target, number)

    return send


def run(arguments: list[str]) -> int:
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
    from node.supervisor import attempt, main

    held = os.path.join(os.path.abspath(arguments[1]), "held")
    os.kill, os.killpg = withheld(os.kill, held), withheld(os.killpg, held)
    attempt.UNKILLABLE_US = 300_000
    return main.main(arguments)


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
