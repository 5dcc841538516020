"""What a Job and its pods say of an end, or of what they wait for. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from node.drivers.k8s.manifest import CONTAINER
from node.drivers.refusals import meaning

Object = Mapping[str, Any]

_MESSAGE_CHARS = 400
_KILLED = 137
# Why a pod ended that its container is not to blame for.
_DISRUPTED = frozenset(
    {
        "Evicted", "NodeAffinity", "NodeLost", "NodeShutdown", "OutOfcpu", "OutOfmemory", "OutOfpods",
        "Preempting", "Shutdown", "Terminated", "UnexpectedAdmissionError",
    }
)  # fmt: skip
# Why a container does not start; each may pass, so it has a grace.
_MISSING = frozenset({"CreateContainerConfigError", "ErrImageNeverPull"})
_CANNOT_RUN = frozenset({"ContainerCannotRun", "StartError"})
_PULLS = frozenset({"ErrImagePull", "ImagePullBackOff"})
_REGISTRY = frozenset({"ImageInspectError", "RegistryUnavailable"})
_CANNOT_BE_MADE = frozenset({"CreateContainerError", "RunContainerError"})
_NO_CLAIM = re.compile(r'persistentvolumeclaim "[^"]*" not found')
_ABSENT = re.compile(r"not found|non-existent|does not exist", re.IGNORECASE)
_REFUSED = re.compile(r"forbidden|denied the request|is invalid", re.IGNORECASE)
_QUOTA = "exceeded quota"
# Of a pod that was put out for what it used itself.
_OWN_LIMIT = re.compile(r"exceed\w* .*limit|exceeds the limit", re.IGNORECASE)
_AGAIN = "It is put off and runs again"


@dataclass(frozen=True, slots=True)
class End:
    """How the task ended; an empty cause leaves it to the exit code."""

    code: int
    cause: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True)
class Wait:
    """What it waits for. `cause`: of CAUSES, that of the task's end if it lasts; empty = it may last."""

    message: str
    cause: str = ""
    at_once: bool = False  # nothing will ever come of it
    unplaced: bool = False  # no node has taken it

    @property
    def error(self) -> str:
        """A sentence for the task's end, and what to do."""
        return f"The pod cannot start: {self.message.rstrip('.')}. {_REMEDIES[self.cause]}"


_REMEDIES = {
    "": "",
    "not_found": "Correct the image, or what the pod refers to.",
    "validation": "Correct the payload.",
    "infrastructure": "It is put off; see what ails the registry, or the nodes' way to it.",
    "rate_limited": "It is put off; a login at the registry (pull_secrets) raises its limit.",
}


_OOM = "The container was killed since it used more memory than its limit"
_LATE = End(
    _KILLED, "timeout", "The Job ran longer than its activeDeadlineSeconds. Give the task a longer --timeout."
)
_DELETED = End(1, "exit", "The Job was deleted from the cluster. Whoever did it knows why; submit it again.")


def newest(pods: Iterable[Object]) -> Object | None:
    """The pod that counts: with one try and no retries there is more than one only after a disruption."""
    made = sorted(pods, key=lambda pod: (pod["metadata"].get("creationTimestamp") or "", pod["metadata"]["name"]))
    return made[-1] if made else None


def judge(job: Object | None, pod: Object | None) -> End | None:
    """How it ended; None while it has not. `job` is None once it was deleted."""
    deleted = job is None or bool((job.get("metadata") or {}).get("deletionTimestamp"))
    if pod is not None and (end := _pod_end(pod)) is not None:
        return _DELETED if deleted and end.cause == "infrastructure" else end
    if job is None:
        return _DELETED
    for condition in _conditions(job):
        if condition.get("status") != "True":
            continue
        if condition.get("type") == "Complete":
            return End(0)
        if condition.get("type") == "Failed":
            return _failed(condition, _disruption(pod) if pod is not None else "")
    return None


def _failed(condition: Object, disrupted: str) -> End:
    said = f"{condition.get('reason') or 'Failed'}: {condition.get('message') or ''}"[:_MESSAGE_CHARS].strip(": ")
    if condition.get("reason") == "DeadlineExceeded":
        return _LATE
    # It failed without a pod that did: the pod was taken away.
    why = disrupted or said
    return End(1, "infrastructure", f"The pod of the Job was removed before it ended ({why}). {_AGAIN}.")


def _pod_end(pod: Object) -> End | None:
    status = pod.get("status") or {}
    ended = ((container_status(pod) or {}).get("state") or {}).get("terminated")
    disrupted = _disruption(pod)
    if ended is not None and ended.get("exitCode") == 0:
        return End(0)
    if ended is not None and ended.get("reason") == "OOMKilled":
        return End(_KILLED, "oom", f"{_OOM}. Raise limits.memory in the payload, or have it use less.")
    if disrupted and _OWN_LIMIT.search(disrupted):
        return End(
            1, "exit", f"The pod was put out for what it used: {disrupted}. Raise that limit, or have it use less."
        )
    if disrupted and (ended is not None or status.get("phase") in ("Failed", "Unknown")):
        return End(1, "infrastructure", f"The pod was disrupted: {disrupted}. {_AGAIN}.")
    if status.get("reason") == "DeadlineExceeded":
        return _LATE
    if ended is not None and _was_deleted(pod, ended):
        return End(1, "infrastructure", f"The pod was deleted while its container ran. {_AGAIN}.")
    if ended is not None:
        return _container_end(ended)
    if status.get("phase") == "Failed":
        said = f"{status.get('reason') or 'Failed'}: {status.get('message') or ''}"[:_MESSAGE_CHARS].strip(": ")
        return End(1, "infrastructure", f"The pod failed before its container ended ({said}). {_AGAIN}.")
    return End(0) if status.get("phase") == "Succeeded" else None


def _was_deleted(pod: Object, ended: Object) -> bool:
    """Whether its container ended because somebody deleted the pod, not before."""
    metadata = pod["metadata"]
    due, finished = _time(metadata.get("deletionTimestamp")), _time(ended.get("finishedAt"))
    if due is None:
        return False
    # What is noted is when its grace will be over.
    asked = due - timedelta(seconds=int(metadata.get("deletionGracePeriodSeconds") or 0))
    return finished is None or finished >= asked


def _time(text: object) -> datetime | None:
    try:
        return datetime.fromisoformat(str(text))
    except ValueError:
        return None


def _container_end(ended: Object) -> End:
    code = int(ended.get("exitCode") or 1)
    message = " ".join(str(ended.get("message") or "").split())[:_MESSAGE_CHARS]
    if ended.get("reason") in _CANNOT_RUN:
        cause, _ = meaning(message, "")
        what = message.rstrip(".") or "it is not there"
        cause = cause if cause in ("validation", "not_found") else "not_found"
        return End(code, cause, f"The container cannot run its command: {what}. Name a program that its image has.")
    return End(code if 0 < code < 256 else 1)


def _disruption(pod: Object) -> str:
    """Why it was taken from its node; empty when it was not."""
    status = pod.get("status") or {}
    for condition in _conditions(pod):
        if condition.get("type") == "DisruptionTarget" and condition.get("status") == "True":
            said = f"{condition.get('reason') or ''}: {condition.get('message') or ''}"
            return said[:_MESSAGE_CHARS].strip(": .") or "DisruptionTarget"
    if status.get("reason") in _DISRUPTED:
        return f"{status['reason']}: {status.get('message') or ''}"[:_MESSAGE_CHARS].strip(": .")
    return ""


def waits(pod: Object | None) -> Wait | None:
    """What a pod that has not ended waits for; None while its container runs."""
    if pod is None:
        return Wait("waits for its pod")
    name = pod["metadata"]["name"]
    for condition in _conditions(pod):
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            said = _said(condition, "Unscheduled")
            return Wait(said, "not_found" if _NO_CLAIM.search(said) else "", unplaced=True)
    state = (container_status(pod) or {}).get("state") or {}
    if "running" in state:
        return None
    waiting = state.get("waiting") or {}
    reason = str(waiting.get("reason") or "Pending")
    said = _said({**waiting, "reason": reason}, "")
    if reason == "InvalidImageName":
        return Wait(said, "validation", at_once=True)
    if reason in _PULLS:
        cause, _ = meaning(said, "")
        return Wait(said, cause if cause and cause in _REMEDIES else "not_found")
    if reason in _REGISTRY:
        return Wait(said, "infrastructure")
    if reason in _CANNOT_BE_MADE:
        return Wait(said, "validation")
    return Wait(said, "not_found") if reason in _MISSING else Wait(f"{said}, pod {name}")


def told(events: Iterable[Object]) -> Wait | None:
    """What the last event of a Job or a pod that does not start says; None where nothing is wrong."""
    last = max(events, key=_moment, default=None)
    if last is None or last.get("type") != "Warning":
        return None
    said = _said(last, "Warning")
    if last.get("reason") == "FailedCreate" and _QUOTA not in said:
        if _ABSENT.search(said):
            return Wait(said, "not_found")
        return Wait(said, "validation" if _REFUSED.search(said) else "")
    return Wait(said, "not_found" if last.get("reason") == "FailedMount" and _ABSENT.search(said) else "")


def _moment(event: Object) -> str:
    series = event.get("series") or {}
    return str(series.get("lastObservedTime") or event.get("lastTimestamp") or event.get("eventTime") or "")


def _said(thing: Object, default: str) -> str:
    said = f"{thing.get('reason') or default}: {thing.get('message') or ''}"
    return " ".join(said.split())[:_MESSAGE_CHARS].strip(": ")


def started(pod: Object | None) -> bool:
    """Whether its container has, or had, something to say."""
    state = (container_status(pod) or {}).get("state") or {}
    return "running" in state or "terminated" in state


def container_status(pod: Object | None) -> Object | None:
    """Of the task's own container; sidecars that a cluster adds do not count."""
    found = ((pod or {}).get("status") or {}).get("containerStatuses") or ()
    return next((each for each in found if each.get("name") == CONTAINER), None)


def is_over(job: Object) -> bool:
    return any(
        condition.get("type") in ("Complete", "Failed") and condition.get("status") == "True"
        for condition in _conditions(job)
    )


def _conditions(thing: Object) -> Iterable[Object]:
    return (thing.get("status") or {}).get("conditions") or ()
