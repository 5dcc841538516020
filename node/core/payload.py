"""What tasks of other types than shell carry in TaskSpec.payload, checked before the log."""

from __future__ import annotations

import json
from collections.abc import Mapping

from cortex.v1.cluster_pb2 import DispatchSubagentsRequest, TaskRequest
from cortex.v1.types_pb2 import (
    TASK_TYPE_CLAUDE_RELAY,
    TASK_TYPE_CONTAINER,
    TASK_TYPE_K8S_JOB,
    TASK_TYPE_PYTHON,
    TASK_TYPE_SERVICE,
    TASK_TYPE_SUBAGENT,
    TaskSpec,
)
from node.core.faults import Code, Fault
from node.payloads.container import Container
from node.payloads.k8s_job import CAPABILITY as K8S_CAPABILITY
from node.payloads.k8s_job import K8sJob
from node.payloads.python import Python, capability
from node.payloads.reading import BadPayload, Payload, keys, read
from node.payloads.relay import Relay
from node.payloads.service import Service
from node.payloads.subagent import Subagent

# One struct for each type; shell and noop tasks carry none.
KINDS: Mapping[int, type[Payload]] = {
    TASK_TYPE_CONTAINER: Container,
    TASK_TYPE_SERVICE: Service,
    TASK_TYPE_SUBAGENT: Subagent,
    TASK_TYPE_CLAUDE_RELAY: Relay,
    TASK_TYPE_K8S_JOB: K8sJob,
    TASK_TYPE_PYTHON: Python,
}
# Types whose command, where they have one, stands in the spec as for shell.
WITH_COMMAND = frozenset({TASK_TYPE_CONTAINER, TASK_TYPE_K8S_JOB, TASK_TYPE_SERVICE})
_IN_UNICODE = {TASK_TYPE_CONTAINER: "a container", TASK_TYPE_K8S_JOB: "a Job"}

SUBAGENTS_LIMIT = 1_000
# What dispatch says itself.
_EACH = frozenset({"prompt", "context", "number", "count"})


def check_words(spec: TaskSpec) -> None:
    """Raises Fault where what runs the task could not hand its words over as they are."""
    if spec.type not in _IN_UNICODE:
        return
    words = [(f"argv[{number}]", word) for number, word in enumerate(spec.argv)]
    words += [("shell_command", spec.shell_command), *((f"{each.name} in env", each.value) for each in spec.env)]
    for field, word in words:
        try:
            word.decode()
        except UnicodeDecodeError:
            message = f"{field} is not UTF-8, and {_IN_UNICODE[spec.type]} can be given nothing else."
            raise Fault(Code.INVALID, message, "Put it into a file that is mounted.") from None


def add_needs(spec: TaskSpec) -> None:
    """Require of the node what the payload, which was checked, asks for beside the type."""
    if spec.type == TASK_TYPE_PYTHON:
        needed = capability(read(spec.payload, Python).handler)
        if needed not in spec.constraints.capabilities:
            spec.constraints.capabilities.append(needed)
    elif spec.type == TASK_TYPE_K8S_JOB:
        _add_context(spec)


def _add_context(spec: TaskSpec) -> None:
    """A Job goes to a node that reaches its cluster. Raises Fault."""
    job = read(spec.payload, K8sJob)
    if job.command and (spec.argv or spec.shell_command):
        message = "The command is given twice: as one, and in the payload."
        raise Fault(Code.INVALID, message, "Leave one of them out.")
    needed = f"{K8S_CAPABILITY}{job.context}"
    if job.context and needed not in spec.constraints.capabilities:
        spec.constraints.capabilities.append(needed)


def title(spec: TaskSpec) -> str:
    """What a task without a name is called by its payload, which was checked; empty when that says nothing."""
    if spec.type == TASK_TYPE_K8S_JOB and not (spec.argv or spec.shell_command):
        return read(spec.payload, K8sJob).image.rpartition("/")[2].partition("@")[0]
    return read(spec.payload, Python).handler if spec.type == TASK_TYPE_PYTHON else ""


def check(kind: int, name: str, payload: bytes) -> None:
    """Raises Fault unless `payload` is what tasks of the type `kind`, which is called `name`, carry."""
    struct = KINDS[kind]
    try:
        read(payload, struct)
    except BadPayload as error:
        message = f"The payload of a {name} task is wrong: {error}"
        raise Fault(Code.INVALID, message, f"Its keys are {keys(struct)}.") from None


def subagents(request: DispatchSubagentsRequest) -> list[TaskRequest]:
    """One task for each agent; they differ in their number. Raises Fault."""
    if not 1 <= request.count <= SUBAGENTS_LIMIT:
        message = f"count is {request.count}, it goes from 1 to {SUBAGENTS_LIMIT}."
        raise Fault(Code.INVALID, message, "Dispatch them in several calls.")
    if request.task.submit_key:
        message = "submit_key cannot be given for all agents at once."
        raise Fault(Code.INVALID, message, "Submit the tasks one by one.")
    shared = _shared_keys(request.task.spec.payload)
    tasks = []
    for number in range(request.count):
        payload = {**shared, "prompt": request.prompt, "number": number, "count": request.count}
        if request.context:
            payload["context"] = request.context
        task = TaskRequest()
        task.CopyFrom(request.task)
        task.spec.type = TASK_TYPE_SUBAGENT
        task.spec.payload = json.dumps(payload, ensure_ascii=False, sort_keys=True).encode()
        tasks.append(task)
    check(TASK_TYPE_SUBAGENT, "subagent", tasks[0].spec.payload)
    return tasks


def _shared_keys(payload: bytes) -> dict[str, object]:
    """What all agents are given beside their prompt, such as a model. Raises Fault."""
    try:
        found = json.loads(payload or b"{}")
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or not _EACH.isdisjoint(found):
        message = f"The payload of all agents is not a JSON object, or has one of {', '.join(sorted(_EACH))}."
        raise Fault(Code.INVALID, message, "Give what they share, such as model or tools.")
    return found
