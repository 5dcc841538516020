"""To give a cluster a Job, once per attempt, and to take it away."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from node.drivers.k8s.api import NO_CREDENTIALS, Api, ApiError, Refused, Unreachable
from node.drivers.k8s.judge import is_over
from node.drivers.k8s.manifest import FENCE, TASK, Order, job_name, label_value, manifest
from node.drivers.k8s.watch import Backoff

JOBS = "apis/batch/v1/namespaces/{}/jobs"
PODS = "api/v1/namespaces/{}/pods"
# Tries of a request that may do better later, before the task is put off.
_TRIES_S = 30.0
_GONE_S = 60.0
_LOOK_S = 0.5


@dataclass(frozen=True)
class Failed(Exception):
    """The task ends here, for the reason that CAUSES of node.worker.exchange names."""

    cause: str
    error: str
    retry_after_s: float = 0.0


def failed(error: ApiError, what: str) -> Failed:
    """What a refused or lost request means for the task; `what` was tried, as "submit the Job"."""
    said = f"To {what} failed: {error.message}."
    if not isinstance(error, Refused):
        return Failed("infrastructure", f"{said} The task waits until the API is back.")
    if error.reason == NO_CREDENTIALS:
        return Failed("cannot_start", said)  # with what to do
    if error.status == 401:
        return Failed(
            "cannot_start", f"{said} Renew the credentials of the context in the kubeconfig of this node."
        )
    if error.status == 403:
        return Failed("validation", f"{said} Give the user of the context a role that allows it, or free quota.")
    if error.status == 404:
        return Failed("not_found", f"{said} Name a namespace that exists.")
    if error.status == 429:
        return Failed("rate_limited", f"{said} The task waits.", error.retry_after_s)
    if error.status >= 500:
        return Failed("infrastructure", f"{said} The task waits until the API is well.", error.retry_after_s)
    return Failed("validation", f"{said} Correct the payload.")


async def submit(api: Api, order: Order, namespace: str, say: Callable[[str], None]) -> Mapping[str, Any]:
    """The Job of this attempt, made or found. What is left of earlier attempts is removed before. Raises Failed."""
    jobs = JOBS.format(namespace)
    await _remove_earlier(api, order, jobs, say)
    name = job_name(order.task, order.fence)
    backoff, until_s = Backoff(), time.monotonic() + _TRIES_S
    while True:
        try:
            return await api.post(jobs, manifest(order))
        except Refused as refusal:
            if refusal.status == 409 and refusal.reason == "AlreadyExists":
                return await _adopted(api, order, f"{jobs}/{name}")
            delay_s = backoff.next_s(refusal.retry_after_s)
            if not refusal.passes or time.monotonic() + delay_s > until_s:
                raise failed(refusal, "submit the Job") from None
            say(f"The API is busy: {refusal.message}")
        except Unreachable as error:
            delay_s = backoff.next_s()
            if time.monotonic() + delay_s > until_s:
                raise failed(error, "submit the Job") from None
            say(error.message)
        await asyncio.sleep(delay_s)


async def _adopted(api: Api, order: Order, path: str) -> Mapping[str, Any]:
    """The Job of that name, if it is ours: an answer was lost on its way."""
    try:
        job = await api.get(path)
    except ApiError as error:
        raise failed(error, "read the Job") from None
    found = job["metadata"].get("labels") or {}
    if (found.get(TASK), found.get(FENCE)) != (label_value(order.task), str(order.fence)):
        name = job["metadata"]["name"]
        why = f"There is a Job {name} that is not of this task. Delete it, or use another namespace."
        raise Failed("validation", why)
    return job


async def _remove_earlier(api: Api, order: Order, jobs: str, say: Callable[[str], None]) -> None:
    """Jobs of attempts before this one, which their machine lost: two must not run at once. Raises Failed."""
    selector = {"labelSelector": f"{TASK}={label_value(order.task)},{FENCE}!={order.fence}"}
    until_s = time.monotonic() + _GONE_S
    backoff = Backoff()
    asked: set[str] = set()
    while True:
        try:
            listed = (await api.get(jobs, selector)).get("items") or []
            found = [job for job in listed if not is_over(job)]
            for job in found:
                name = job["metadata"]["name"]
                fence = (job["metadata"].get("labels") or {}).get(FENCE, "")
                if fence.isdecimal() and int(fence) > order.fence:
                    raise Failed("infrastructure", f"A later attempt runs as Job {name}. This one ends.")
                if name not in asked:
                    await remove(api, jobs, name, uid=job["metadata"].get("uid", ""))
                    asked.add(name)
                    say(f"removes Job {name} of an earlier attempt")
            if not found:
                return
            delay_s = _LOOK_S
        except ApiError as error:
            delay_s = backoff.next_s(getattr(error, "retry_after_s", 0.0))
            passes = not isinstance(error, Refused) or error.passes
            if not passes or time.monotonic() + delay_s > until_s:
                raise failed(error, "look for Jobs of earlier attempts") from None
        if time.monotonic() > until_s:
            names = ", ".join(sorted(asked))
            raise Failed("infrastructure", f"An earlier attempt still ends in the cluster: {names}.", 30.0)
        await asyncio.sleep(delay_s)


async def remove(api: Api, jobs: str, name: str, uid: str = "") -> bool:
    """Ask for the end of a Job and its pods, which have a grace of their own; False when it is not there. Raises
    ApiError.
    """
    options: dict[str, Any] = {"propagationPolicy": "Foreground"}
    if uid:
        options["preconditions"] = {"uid": uid}
    try:
        await api.delete(f"{jobs}/{name}", options)
    except Refused as refusal:
        if refusal.status in (404, 409):  # another of that name stands there now
            return False
        raise
    return True
