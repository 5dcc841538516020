"""What a cluster says of one Job and its pods, kept up to date over watches that end, expire and break off."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Mapping
from contextlib import aclosing, suppress
from typing import Any

from node.drivers.k8s.api import Api, ApiError, Refused
from node.drivers.k8s.judge import is_over, newest

WATCH_S = 240
QUIET_S = WATCH_S + 30.0
_FIRST_DELAY_S = 0.2
_LONGEST_DELAY_S = 10.0
_GONE = 410
_LIST_LIMIT = "500"


class Backoff:
    """Delays that double, with jitter."""

    def __init__(self) -> None:
        self._delay_s = _FIRST_DELAY_S

    def next_s(self, least_s: float = 0.0) -> float:
        delay_s = self._delay_s * random.uniform(0.5, 1.0)
        self._delay_s = min(self._delay_s * 2, _LONGEST_DELAY_S)
        return max(delay_s, least_s)

    def reset(self) -> None:
        self._delay_s = _FIRST_DELAY_S


class Scene:
    """The Job and its pods as last heard of."""

    def __init__(self, job: Mapping[str, Any]) -> None:
        self.uid = str(job["metadata"].get("uid", ""))
        self.job: Mapping[str, Any] | None = job
        self.pods: dict[str, Mapping[str, Any]] = {}
        self._troubles: dict[str, tuple[float, ApiError]] = {}
        self.changed = asyncio.Event()

    @property
    def pod(self) -> Mapping[str, Any] | None:
        return newest(self.pods.values())

    @property
    def trouble(self) -> tuple[float, ApiError] | None:
        """For how many seconds nothing was heard of one or the other, and why; None while both are heard of."""
        if not self._troubles:
            return None
        since_s, error = min(self._troubles.values(), key=lambda each: each[0])
        return time.monotonic() - since_s, error

    def heard(self, what: str) -> None:
        self._troubles.pop(what, None)

    def note(self, what: str, trouble: ApiError) -> None:
        since_s, _ = self._troubles.get(what) or (time.monotonic(), trouble)
        self._troubles[what] = since_s, trouble
        self.changed.set()

    def put_job(self, kind: str, job: Mapping[str, Any]) -> None:
        if job["metadata"].get("uid", "") == self.uid:
            self.job = None if kind == "DELETED" and not is_over(job) else job
            self.changed.set()

    def put_pod(self, kind: str, pod: Mapping[str, Any]) -> None:
        """A pod that was deleted stays as it was last seen: how its container ended may be all there is."""
        if kind == "DELETED" and not (pod.get("status") or {}).get("phase"):
            return
        self.pods[pod["metadata"]["name"]] = pod
        self.changed.set()

    def replace_jobs(self, jobs: list[Mapping[str, Any]]) -> None:
        self.job = next((job for job in jobs if job["metadata"].get("uid", "") == self.uid), None)
        self.changed.set()

    def replace_pods(self, pods: list[Mapping[str, Any]]) -> None:
        for pod in pods:
            self.pods[pod["metadata"]["name"]] = pod
        self.changed.set()

    async def change(self, timeout_s: float) -> None:
        """Return after the next change, or in vain."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self.changed.wait()
        self.changed.clear()


async def follow(
    api: Api,
    path: str,
    selector: Mapping[str, str],
    scene: Scene,
    replace: Callable[[list[Mapping[str, Any]]], None],
    put: Callable[[str, Mapping[str, Any]], None],
) -> None:
    """List, then watch from there, again and again. Runs until cancelled."""
    version = ""
    backoff = Backoff()
    while True:
        try:
            if not version:
                found = await api.get(path, {**selector, "limit": _LIST_LIMIT})
                version = str((found.get("metadata") or {}).get("resourceVersion") or "")
                replace(list(found.get("items") or ()))
                scene.heard(path)
                backoff.reset()
            began_s = time.monotonic()
            params = {
                **selector,
                "resourceVersion": version,
                "allowWatchBookmarks": "true",
                "timeoutSeconds": str(WATCH_S),
            }
            async with aclosing(api.watch(path, params, QUIET_S)) as events:
                async for kind, thing in events:
                    version = str((thing.get("metadata") or {}).get("resourceVersion") or version)
                    scene.heard(path)
                    if kind not in ("OPENED", "BOOKMARK"):
                        backoff.reset()
                        put(kind, thing)
            scene.heard(path)
            if time.monotonic() - began_s < 1.0:  # an end at once is no answer to be asked again at once
                await asyncio.sleep(backoff.next_s())
        except Refused as refusal:
            if refusal.status == _GONE:
                version = ""
                await asyncio.sleep(backoff.next_s())
                continue
            scene.note(path, refusal)
            await asyncio.sleep(backoff.next_s(refusal.retry_after_s))
        except ApiError as error:
            scene.note(path, error)
            await asyncio.sleep(backoff.next_s())
