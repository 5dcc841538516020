"""A driver of a k8s_job task in a thread, against the double."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from node.drivers.k8s.main import drive
from node.drivers.k8s.manifest import Order
from node.drivers.kit import Desk
from node.payloads.k8s_job import K8sJob
from tests.k8s.double import Double

TASK = "01hzxtask"
FENCE = 77
NAME = f"cortex-{TASK}-{FENCE}"
PATIENCE_S = 60.0


class Driven:
    """One task. Its driver runs from `start` to `end`."""

    def __init__(self, double: Double, folder: Path, **changes: Any) -> None:
        job = changes.pop("job", K8sJob(image="busybox:1"))
        kubeconfig = (str(double.kubeconfig(folder / "kubeconfig")),)
        given = {"task": TASK, "fence": FENCE, "owner": "me", "kubeconfig": kubeconfig, "context": "home"} | changes
        self.double = double
        self._folder = folder
        self._order = Order(job=job, **given)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._written = b""
        self._failure: BaseException | None = None
        self.code = -1

    def start(self) -> None:
        (self._folder / "order.json").write_bytes(msgspec.json.encode(self._order))
        self._thread.start()

    def stop(self) -> None:
        """What TERM does."""
        assert self._ready.wait(PATIENCE_S)
        assert self._loop is not None
        assert self._stop is not None
        self._loop.call_soon_threadsafe(self._stop.set)

    def end(self) -> int:
        """Its exit code, once it has ended."""
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive(), f"it runs on: {self.told}"
        if self._failure is not None:
            raise self._failure
        return self.code

    def ends_not(self, for_s: float) -> None:
        """Time in which one ends that waits for nothing."""
        self._thread.join(for_s)
        assert self._thread.is_alive()

    def writes(self, text: str) -> None:
        """Return when its output has that."""
        self.double.wait(lambda: text.encode() in self._written)

    def says(self, text: str) -> None:
        """Return when it told that as its progress."""
        self.double.wait(lambda: any(text in message for message in self.told))

    @property
    def output(self) -> str:
        return self._written.decode()

    @property
    def told(self) -> list[str]:
        path = self._folder / "events.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        return [json.loads(line)["progress"]["message"] for line in lines]

    @property
    def verdict(self) -> dict[str, Any]:
        path = self._folder / "verdict.json"
        return dict(json.loads(path.read_text())) if path.exists() else {}

    def _run(self) -> None:
        try:
            self.code = asyncio.run(self._drive())
        except BaseException as error:
            self._failure = error
        self.double.tell()

    async def _drive(self) -> int:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        self._ready.set()
        folder = self._folder
        desk = Told(self.double, {
            "CORTEX_ORDER": str(folder / "order.json"),
            "CORTEX_EVENTS": str(folder / "events.jsonl"),
            "CORTEX_VERDICT": str(folder / "verdict.json"),
        })  # fmt: skip
        return await drive(desk, self._stop, self._take)

    def _take(self, data: bytes) -> None:
        self._written += data
        self.double.tell()


class Told(Desk):
    """Wakes who waits for what was told."""

    def __init__(self, double: Double, environ: dict[str, str]) -> None:
        super().__init__(environ)
        self._double = double

    def tell(self, event: Any) -> None:
        super().tell(event)
        self._double.tell()


@contextmanager
def served() -> Iterator[Double]:
    double = Double()
    double.start()
    try:
        yield double
    finally:
        double.stop()
