"""Signals of a service's driver: none is lost on its way."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

# Sent before the driver can take it, as one that comes while it begins.
EARLY = """
import os, signal, sys
from node.drivers.service.main import main
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
os.kill(os.getpid(), signal.SIGTERM)
sys.argv = ["driver", "true"]
main()
"""
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


def test_a_stop_while_it_begins_is_not_lost(tmp_path: Path) -> None:
    files = {name: str(tmp_path / name) for name in ("CORTEX_ORDER", "CORTEX_EVENTS", "CORTEX_VERDICT")}
    Path(files["CORTEX_ORDER"]).write_text(json.dumps({"service": {}, "kill_timeout_s": 5, "box": None}))
    done = subprocess.run([sys.executable, "-c", EARLY], env={"PATH": "/usr/bin:/bin", **files}, timeout=60)
    assert done.returncode == -signal.SIGTERM


def test_a_stop_that_was_taken_is_settled_though_it_is_not_told_yet() -> None:
    done = subprocess.run([sys.executable, "-c", ON_ITS_WAY], capture_output=True, timeout=60, check=True)
    assert done.stdout == b"True\n"
