"""Run as a user without rights on an empty data folder: writes JSON of what it is offered and what it gets."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from cortex.v1.types_pb2 import Requests
from node.core.faults import Fault
from node.worker.sandbox import options
from tests.node.sandbox_kit import DEFAULT, NONE, STRICT, sandboxes
from tests.node.supervisor_kit import family, until

WHO = (
    "id -u; id -G; touch own && echo wrote; touch /usr/x 2>/dev/null; grep -E 'CapEff|NoNewPrivs' /proc/self/status"
)
AWAY = "setsid env -i /bin/sh -c 'trap \"\" TERM; while :; do sleep 1; done' & true"
HOG = "head -c 100000000 /dev/zero | tail -c 100000000 >/dev/null"


async def look(data: Path, closed: str) -> dict[str, object]:
    """`closed` is a directory of somebody else."""
    found: dict[str, object] = {}
    try:
        options.read({"user": "nobody"})
    except Fault as fault:
        found["user"] = str(fault)
    async with sandboxes(data) as here:
        found["offers"] = [(each.available, each.reason, each.detail) for each in here.levels.probe()]
        for name, level in (("none", NONE), ("default", DEFAULT), ("strict", STRICT)):
            found[name] = (await here.run(level, WHO)).stdout.head.decode().split()
            found[f"{name}, closed"] = (await here.run(level, "pwd", cwd=closed)).error
            await here.run(level, AWAY, kill_timeout_us=1000)
            await until(lambda: not family(here.watched.port.pid))
        hog = await here.run(DEFAULT, HOG, requests=Requests(memory_bytes=40_000_000))
        cores = await here.run(DEFAULT, "true", requests=Requests(cpu_millis=500))
    return {**found, "hog": hog.cause, "cores": cores.exit_code}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(look(Path(sys.argv[1]), sys.argv[2]))))
