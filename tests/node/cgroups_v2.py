"""Run as root where control groups of version 2 can be had: writes JSON of what the kernel makes of ours.

Standard library and the supervisor alone, as it runs in a machine that is slow to begin.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from node.supervisor.cgroups import Box, Cgroups

ROOT = Path("/sys/fs/cgroup")
HOG = "head -c 30000000 /dev/zero | tail -c 30000000 >/dev/null"
BOMB = "for i in 1 2 3 4 5 6 7 8; do sleep 100 & done; echo over"
FILES = ("memory.max", "memory.swap.max", "memory.oom.group", "pids.max", "cpu.max", "cgroup.controllers")
READ = ("memory.events", "memory.peak", "pids.events", "cgroup.events", "cpu.stat")


def within(box: Box, script: str, **bounds: int) -> subprocess.Popen[bytes]:
    """A command that is born into the group, as the supervisor does it: bounds follow."""
    box.enter()
    try:
        command = ["sh", "-c", f"read line; {script}"]
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
    finally:
        box.leave()
    box.bound(*(bounds.get(name, 0) for name in ("memory_bytes", "pids", "cpu_millis")))
    return process


def go(process: subprocess.Popen[bytes]) -> int:
    assert process.stdin is not None
    process.stdin.close()
    return process.wait(60)


def until(look: Callable[[], object]) -> None:
    end = time.monotonic() + 60
    while not look() and time.monotonic() < end:
        time.sleep(0.01)


def look() -> dict[str, object]:
    """In the group that this process is in, which has one above it that it may use."""
    groups = Cgroups("here")
    found: dict[str, object] = {"version": groups.version, "reason": groups.reason, "cpu": groups.bounds_cpu}
    groups.try_out()
    if not groups.version:
        return found
    boxes = [groups.make(name, cpu=True) for name in ("hog", "bomb", "quiet")]
    hog, bomb, quiet = [box for box in boxes if box is not None]
    found["hog"] = go(within(hog, HOG, memory_bytes=10_000_000, pids=50, cpu_millis=1500))
    folder = next(iter(hog.folders))
    found["files"] = {name: Path(folder, name).read_text().strip() for name in FILES}
    found["read"] = {name: Path(folder, name).read_text() for name in READ}
    found["hog was out of memory"], found["hog's peak"] = hog.out_of_memory(), hog.peak_bytes()
    go(within(bomb, BOMB, pids=5))
    found["bomb left"], found["bomb was out of memory"] = len(bomb.pids()), bomb.out_of_memory()
    found["removed while busy"] = bomb.remove()
    bomb.kill()
    until(lambda: not bomb.pids())
    found["quiet"] = go(within(quiet, "true", memory_bytes=10_000_000))
    found["removed"] = [box.remove() for box in (hog, bomb, quiet)]
    groups.close()
    found["left"] = [path.name for path in ROOT.rglob("cortex-*")]
    return found


def delegated() -> dict[str, object]:
    """As a user to whom root has given a group, and without one."""
    service = ROOT / "service"
    (service / "daemon").mkdir(parents=True)
    for folder in (service, service / "daemon"):
        for name in ("", "cgroup.procs", "cgroup.subtree_control"):
            os.chown(folder / name, 65534, 65534)
    found: dict[str, object] = {}
    for name, folder in (("delegated", service / "daemon"), ("not delegated", ROOT)):
        script = f'echo 0 > {folder}/cgroup.procs; exec setpriv --reuid=65534 --regid=65534 --clear-groups "$@"'
        command = ["sh", "-c", script, "sh", sys.executable, __file__, "look"]
        done = subprocess.run(command, capture_output=True, check=False, timeout=120)
        found[name] = (
            json.loads(done.stdout.partition(b"FOUND")[2]) if done.returncode == 0 else done.stderr.decode()
        )
    return found


if __name__ == "__main__":
    if sys.argv[1:] == ["look"]:
        result = look()
    else:
        (ROOT / "cgroup.subtree_control").write_text("+memory +pids +cpu")
        result = {"root": look(), **delegated()}
    sys.stdout.write(f"\nFOUND {json.dumps(result)}\n")
