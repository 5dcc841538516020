"""Signals of a service's driver: none is lost on its way."""

from __future__ import annotations

import subprocess
import sys

# The listener has taken it, and is slow to say so.
ON_ITS_WAY = """
import os, signal, time
from node.drivers.service import signals
write = os.write
def slow(fd, data):
    time.sleep(0.2)
    return write(fd, data)
os.write = slow
made = signals.Signals()
os.kill(os.getpid(), signal.SIGTERM)
while signal.SIGTERM in signal.sigpending():
    pass
made.settle()
print(made.stopped)
made.settle()
"""


def test_a_stop_that_was_taken_is_settled_though_it_is_not_told_yet() -> None:
    done = subprocess.run([sys.executable, "-c", ON_ITS_WAY], capture_output=True, timeout=60, check=True)
    assert done.stdout == b"True\n"
