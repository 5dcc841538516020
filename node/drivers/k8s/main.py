"""A k8s_job task: submits its Job, tells what it waits for, passes its log on, ends as its container ended."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import aclosing, suppress
from dataclasses import replace
from typing import Any

import msgspec

from node.drivers.k8s.api import Api, ApiError, Refused
from node.drivers.k8s.config import BadConfig, load
from node.drivers.k8s.judge import End, Wait, container_status, judge, started, told, waits
from node.drivers.k8s.logs import Log
from node.drivers.k8s.manifest import CONTAINER, FENCE, TASK, Order, job_name, label_value
from node.drivers.k8s.submit import JOBS, PODS, Failed, failed, remove, submit
from node.drivers.k8s.watch import QUIET_S, Backoff, Scene, follow
from node.drivers.kit import Desk

_LOOK_S = 1.0
_LOG_AFTER_S = 20.0
_EVENTS_AFTER_S = 10.0
_EVENTS_EVERY_S = 30.0
_EVENTS_LIMIT = "50"
_SUBMITTED_S = 2.0
_LAST_WORDS_S = 1.0
_STOPPED = 143


class Driver:
    """`out` takes the container's log."""

    def __init__(self, order: Order, desk: Desk, out: Callable[[bytes], None]) -> None:
        self._order = order
        self._desk = desk
        self._out = out
        self._said = ""
        self._name = job_name(order.task, order.fence)
        self._namespace = ""
        self._begun = asyncio.Event()  # there is a log
        self._ended = asyncio.Event()
        self._missing_since_s = self._unplaced_since_s = 0.0
        self._why: Wait | None = None  # by events
        self._why_of = True  # the Job, not its pod
        self._pull: Wait | None = None
        self.left = False
        """Whether its Job may still be there after a failure."""

    async def run(self, stop: asyncio.Event) -> int:
        """Its exit code. Raises Failed."""
        order = self._order
        if order.flaw or order.job is None:
            raise Failed("validation", order.flaw or "The order has no payload.")
        try:
            kubeconfig = load(order.kubeconfig, order.in_cluster)
            api = Api(kubeconfig, order.context)
        except BadConfig as error:
            raise Failed("infrastructure", f"{error} Correct the kubeconfig of this node.") from None
        self._namespace = order.namespace or api.namespace
        async with api:
            job = await self._submitted(api, stop)
            if job is None:
                return _STOPPED
            self._say(f"Job {self._name} is submitted")
            return await self._see_through(api, Scene(job), stop)

    async def _submitted(self, api: Api, stop: asyncio.Event) -> Mapping[str, Any] | None:
        """The Job; None when the task was stopped meanwhile."""
        jobs = JOBS.format(self._namespace)
        making = asyncio.create_task(submit(api, self._order, self._namespace, self._say))
        stopped = asyncio.create_task(stop.wait())
        await asyncio.wait((making, stopped), return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if not stop.is_set():
            return await making
        # What is on its way may arrive.
        await asyncio.wait((making,), timeout=_SUBMITTED_S)
        making.cancel()
        await asyncio.gather(making, return_exceptions=True)
        try:
            await remove(api, jobs, self._name)
        except ApiError as error:
            note(f"the Job {self._name} may be left: {error.message}")
        return None

    async def _see_through(self, api: Api, scene: Scene, stop: asyncio.Event) -> int:
        jobs, pods = JOBS.format(self._namespace), PODS.format(self._namespace)
        one = {"fieldSelector": f"metadata.name={self._name}"}
        order = self._order
        its = {"labelSelector": f"{TASK}={label_value(order.task)},{FENCE}={order.fence}"}
        parts = [
            asyncio.create_task(follow(api, jobs, one, scene, scene.replace_jobs, scene.put_job)),
            asyncio.create_task(follow(api, pods, its, scene, scene.replace_pods, scene.put_pod)),
        ]
        logs = asyncio.create_task(self._pass_on_log(api, scene))
        try:
            end = await self._outcome(api, scene, its, stop)
            until_s = time.monotonic() + order.grace_s + _LAST_WORDS_S
            if end is None:
                await self._take_away(api, scene, jobs)
            self._ended.set()
            self._begun.set()
            if end is None:
                # What the pod left of its time: KILL is for the driver that is not done by then.
                await asyncio.wait((logs,), timeout=max(_LAST_WORDS_S, until_s - time.monotonic()))
                self._desk.verdict()  # nothing is left of it
                return _STOPPED
            await asyncio.wait((logs,), timeout=_LOG_AFTER_S)
            if not logs.done():
                note("the rest of the log could not be read")
            elif (error := logs.exception()) is not None:
                raise error
            return self._report(scene, end)
        except Failed as failure:
            # Nobody waits for it any more; the attempt after an outage removes it before it begins.
            self.left = failure.cause != "infrastructure"
            with suppress(ApiError, TimeoutError):
                async with asyncio.timeout(_LOG_AFTER_S):
                    await remove(api, jobs, self._name, scene.uid)
                    self.left = False
            raise
        finally:
            for part in (*parts, logs):
                part.cancel()
            await asyncio.gather(*parts, logs, return_exceptions=True)

    async def _outcome(self, api: Api, scene: Scene, its: Mapping[str, str], stop: asyncio.Event) -> End | None:
        """How it ended; None when it is to be stopped. Raises Failed."""
        begun_s = time.monotonic()
        events_s = begun_s + _EVENTS_AFTER_S
        stopped = asyncio.create_task(stop.wait())
        stopped.add_done_callback(lambda _: scene.changed.set())
        try:
            while not stop.is_set():
                if (end := judge(scene.job, scene.pod)) is not None and await self._is_sure(api, scene, its):
                    return judge(scene.job, scene.pod) or end
                if started(scene.pod):
                    self._begun.set()
                self._look(scene)
                if not started(scene.pod) and time.monotonic() > events_s:
                    events_s = time.monotonic() + _EVENTS_EVERY_S
                    await self._ask_why(api, scene)
                await scene.change(_LOOK_S)
            return None
        finally:
            stopped.cancel()

    async def _is_sure(self, api: Api, scene: Scene, its: Mapping[str, str]) -> bool:
        """Whether the pod has been asked, too: what the Job says may come before what is known of its pod."""
        if judge({**(scene.job or {}), "status": {}}, scene.pod) is not None:
            return True
        try:
            scene.replace_pods((await api.get(PODS.format(self._namespace), its)).get("items") or [])
        except ApiError as error:
            scene.note("end", error)
            await asyncio.sleep(_LOOK_S)
            return False
        scene.heard("end")
        return True

    def _look(self, scene: Scene) -> None:
        """Say what it waits for. Raises Failed when that is not to be had."""
        if scene.trouble is not None:
            unheard_s, trouble = scene.trouble
            self._say(trouble.message)
            if unheard_s > self._order.unreachable_s:
                failure = failed(trouble, "watch the Job")
                # It ran until now: the next attempt finds out whether it can begin here.
                raise replace(failure, cause="infrastructure") if failure.cause == "cannot_start" else failure
            return
        wait = waits(scene.pod)
        if wait is None:
            self._missing_since_s, self._why = 0.0, None
            spec = (scene.pod or {}).get("spec") or {}
            self._say(f"runs on {spec.get('nodeName') or 'its node'}")
            return
        if self._why_of != (scene.pod is None):
            self._why = None
        better = self._why is not None and not (wait.cause or wait.unplaced)
        self._judge_wait(self._why if better and self._why is not None else self._pulled(wait))

    def _judge_wait(self, wait: Wait) -> None:
        """Raises Failed."""
        self._say(wait.message)
        now_s = time.monotonic()
        limit_s = self._order.job.schedule_timeout_s if self._order.job is not None else 0.0
        self._unplaced_since_s = (self._unplaced_since_s or now_s) if wait.unplaced else 0.0
        if limit_s and wait.unplaced and now_s - self._unplaced_since_s >= limit_s:
            error = f"No node of the cluster took the pod within {limit_s:g} s: {wait.message.rstrip('.')}."
            raise Failed(
                "timeout", f"{error} Ask for less, or make room; schedule_timeout_s says how long it waits."
            )
        if not wait.cause:
            self._missing_since_s = 0.0
            return
        self._missing_since_s = self._missing_since_s or now_s
        if wait.at_once or now_s - self._missing_since_s >= self._order.pull_grace_s:
            raise Failed(wait.cause, wait.error)

    def _pulled(self, wait: Wait) -> Wait:
        """With why the pull failed, which is not said between two tries."""
        if wait.message.startswith("ErrImagePull"):
            self._pull = wait
        elif wait.message.startswith("ImagePullBackOff") and self._pull is not None:
            said = self._pull.message
            message = wait.message if said in wait.message else f"{wait.message}, after {said}"
            return replace(wait, message=message, cause=self._pull.cause)
        return wait

    async def _ask_why(self, api: Api, scene: Scene) -> None:
        """No pod comes, or it does not start: the cluster tells why in events."""
        path = f"api/v1/namespaces/{self._namespace}/events"
        kind, name = ("Pod", scene.pod["metadata"]["name"]) if scene.pod is not None else ("Job", self._name)
        selector = f"involvedObject.name={name},involvedObject.kind={kind}"
        with suppress(ApiError):
            found = (await api.get(path, {"fieldSelector": selector, "limit": _EVENTS_LIMIT})).get("items") or []
            self._why, self._why_of = told(found), scene.pod is None

    async def _pass_on_log(self, api: Api, scene: Scene) -> None:
        """Write the container's log to stdout, until it has ended and all of it is there."""
        log, backoff = Log(), Backoff()
        await self._begun.wait()
        if not started(scene.pod):
            return
        name = (scene.pod or {})["metadata"]["name"]
        path = f"{PODS.format(self._namespace)}/{name}/log"
        while True:
            over = _has_ended(scene) or self._ended.is_set()
            params = {"container": CONTAINER, "timestamps": "true", "follow": "false" if over else "true"}
            if log.since:
                params["sinceTime"] = log.since
            log.resume()
            try:
                async with aclosing(api.stream(path, params, QUIET_S)) as chunks:
                    async for chunk in chunks:
                        self._out(log.feed(chunk))
                        backoff.reset()
                self._out(log.finish())
                if over:
                    return
            except Refused as refusal:
                if refusal.status == 404 and (over or self._ended.is_set()):
                    note(f"the rest of the log is gone: {refusal.message}")
                    return
                if over and refusal.status < 500 and refusal.status != 429:
                    note(f"the rest of the log could not be read: {refusal.message}")
                    return
            except ApiError:
                pass
            await asyncio.sleep(backoff.next_s())

    async def _take_away(self, api: Api, scene: Scene, jobs: str) -> None:
        """Delete the Job and see it end, as long as there is time: KILL comes after kill_timeout."""
        backoff = Backoff()
        while True:
            try:
                await remove(api, jobs, self._name, scene.uid)
                break
            except ApiError as error:
                note(f"the Job {self._name} is not removed yet: {error.message}")
                await asyncio.sleep(backoff.next_s())
        while scene.job is not None and not _pod_is_gone(scene):
            if started(scene.pod):
                self._begun.set()
            await scene.change(_LOOK_S)

    def _report(self, scene: Scene, end: End) -> int:
        pod = scene.pod or {}
        status = container_status(pod) or {}
        ended = (status.get("state") or {}).get("terminated") or {}
        document = {
            "job": self._name,
            "namespace": self._namespace,
            "context": self._order.context,
            "pod": (pod.get("metadata") or {}).get("name"),
            "node": (pod.get("spec") or {}).get("nodeName"),
            "image": status.get("imageID") or status.get("image"),
            "exit_code": ended.get("exitCode"),
            "started_at": ended.get("startedAt"),
            "finished_at": ended.get("finishedAt"),
        }
        found = {key: value for key, value in document.items() if value is not None}
        self._desk.verdict(end.cause, end.error, document=found)
        if end.error:
            note(end.error)
        return end.code

    def _say(self, message: str) -> None:
        if message != self._said:
            self._said = message
            self._desk.progress(0, 0, message)


def _has_ended(scene: Scene) -> bool:
    state = (container_status(scene.pod) or {}).get("state") or {}
    return "terminated" in state or scene.job is None


def _pod_is_gone(scene: Scene) -> bool:
    """Whether what ran has ended and nothing can begin; the cluster may take longer to clean up after it."""
    pod = scene.pod
    return pod is not None and (not (pod.get("spec") or {}).get("nodeName") or _has_ended(scene))


def write(data: bytes) -> None:
    """To the task's stdout."""
    view = memoryview(data)
    while view:
        view = view[os.write(1, view) :]


def note(text: str) -> None:
    print(f"cortex: {text}", file=sys.stderr, flush=True)  # noqa: T201


async def _main(desk: Desk) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return await drive(desk, stop)


async def drive(desk: Desk, stop: asyncio.Event, out: Callable[[bytes], None] = write) -> int:
    """The exit code of the task that `desk` has; `stop` is how it is asked to end."""
    driver = Driver(msgspec.convert(desk.order(), Order), desk, out)
    try:
        return await driver.run(stop)
    except Failed as end:
        desk.verdict(end.cause, end.error, retry_after_ms=int(end.retry_after_s * 1000), left=driver.left)
        note(end.error)
        return 1


def main() -> None:
    sys.exit(asyncio.run(_main(Desk(os.environ))))
