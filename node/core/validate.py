"""What may be asked for, checked before the log: limits, defaults, and for each refusal the field, the limit and
the remedy. What apply itself insists on stands in node.core.checks.
"""

from __future__ import annotations

import math
from collections.abc import Container, Iterable, Sequence

from cortex.v1 import types_pb2
from cortex.v1.cluster_pb2 import TaskRequest
from cortex.v1.log_pb2 import TaskSubmit
from cortex.v1.types_pb2 import (
    Constraints,
    Jitter,
    OnExhausted,
    OnLost,
    RetryPolicy,
    SandboxLevel,
    TaskSpec,
    TaskType,
)
from node.core import checks, environment, payload
from node.core.checks import AMOUNT_LIMIT, DURATION_LIMIT_MS, LIST_LIMIT, PRIORITY_LIMIT, SPEC_LIMIT_BYTES
from node.core.environment import ARGUMENT_LIMIT_BYTES
from node.core.faults import Code, Fault

PATH_LIMIT_CHARS = 4096
HOST_LIMIT_CHARS = 253
NODES_LIMIT = 1000
CODES_LIMIT = 256
BATCH_LIMIT = 100_000
RETRIES_LIMIT = 1000
BACKOFF_LIMIT_MS = 24 * 3600 * 1000
MULTIPLIER_LIMIT = 100.0
MINIMUM_LIMIT = 10**9
LIMIT_COUNT_LIMIT = 1_000_000

LEASE_MS = 30_000
NO_SANDBOX = SandboxLevel.SANDBOX_LEVEL_NONE
_SANDBOXED = frozenset({types_pb2.TASK_TYPE_SHELL, types_pb2.TASK_TYPE_SERVICE})
KILL_TIMEOUT_MS = 5_000
STALL_AFTER_MS = 2 * 3600 * 1000
IDLE_TIMEOUT_MS = 600_000
HOLD_KILL_LIMIT_MS = 3600 * 1000
MAX_RETRIES = 3
BACKOFF_MS = 1_000
BACKOFF_MULTIPLIER = 2.0
MAX_BACKOFF_MS = 60_000

SERVICE_KILL_TIMEOUT_MS = 10_000

# What works for long by itself and says so.
_AGENTS = frozenset({types_pb2.TASK_TYPE_SUBAGENT, types_pb2.TASK_TYPE_CLAUDE_RELAY})

# A message has to travel in the trailer of a call, which holds 8 KiB.
_MESSAGE_CHARS = 2000
_PLAIN = "Use letters, digits and dashes."
_FILE = "Put large input into a file that the command reads."


def reason(text: str) -> str:
    """A reason or message as it goes into the log. Raises Fault."""
    text = text.strip()
    _flaw(checks.reason_flaw(text), "Say it in one plain line of at most 200 characters.")
    return text


def request_id(text: str) -> str:
    """A request id as it goes into the log; empty when there is none. Raises Fault."""
    _flaw(checks.text_flaw("request_id", text), _PLAIN)
    return text


def batch_size(count: int) -> None:
    """Raises Fault when no batch may have that many tasks."""
    if not count:
        raise Fault(Code.INVALID, "The batch is empty.", "Give at least one task.")
    if count > BATCH_LIMIT:
        message = f"The batch has {count} tasks, the limit is {BATCH_LIMIT}."
        raise Fault(Code.TOO_LARGE, message, "Split it.")


class Completion:
    """Submissions for a batch, every one complete, in steps, so that other work goes on in between.

    `ids` are those of all tasks.
    """

    def __init__(
        self, ids: Sequence[str], lease_ms: int = LEASE_MS, sandbox: SandboxLevel.ValueType = NO_SANDBOX
    ) -> None:
        # tasks of one entry have one age: their ids decide which is first, and the first line should be
        self._ids = sorted(ids)
        self._lease_ms = lease_ms
        self._sandbox = sandbox
        self._line = 0
        self._submits: list[TaskSubmit] = []
        self._last: tuple[TaskRequest, TaskSubmit] | None = None
        self._faults: list[tuple[int, Fault]] = []

    def add(self, requests: Sequence[TaskRequest]) -> None:
        """The next lines."""
        for request in requests:
            task_id = self._ids[self._line]
            self._line += 1
            try:
                self._submits.append(self._complete(request, task_id))
            except Fault as fault:
                self._faults.append((self._line, fault))

    def _complete(self, request: TaskRequest, task_id: str) -> TaskSubmit:
        """Lines that say the same as the one before them need no second look. Raises Fault."""
        if self._last is not None and self._last[0] == request and checks.is_id(task_id):
            submit = TaskSubmit()
            submit.CopyFrom(self._last[1])
            submit.id = task_id
            return submit
        submit = complete(request, task_id, self._lease_ms, self._sandbox)
        self._last = (request, submit)
        return submit

    def finish(self) -> list[TaskSubmit]:
        """All submissions. Raises one Fault that names each bad line."""
        if self._faults:
            raise _batch_fault(self._faults)
        return self._submits


def _batch_fault(faults: Sequence[tuple[int, Fault]]) -> Fault:
    """Every bad line by its number, the first ones with what is wrong there, as long as there is room."""
    message = "Nothing was submitted."
    remedies: dict[str, None] = {}
    rest: list[int] = []
    for line, fault in faults:
        more = f" Line {line}: {fault.message}"
        if not rest and len(message) + len(more) <= _MESSAGE_CHARS:
            message += more
            remedies[fault.remedy] = None
        else:
            rest.append(line)
    if rest:
        numbers = ", ".join(map(str, rest))
        if len(numbers) > _MESSAGE_CHARS:
            numbers = f"{numbers[:_MESSAGE_CHARS].rpartition(',')[0]} and more"
        message += f" Also bad: {len(rest)} lines: {numbers}."
    codes = {fault.code for _, fault in faults}
    return Fault(codes.pop() if len(codes) == 1 else Code.INVALID, message, " ".join(remedies)[:1000])


def complete(
    request: TaskRequest,
    new_id: str,
    lease_ms: int = LEASE_MS,
    sandbox: SandboxLevel.ValueType = NO_SANDBOX,
) -> TaskSubmit:
    """The submission of `request` with every default filled in; `lease_ms` and `sandbox` are the cluster's.

    Raises Fault.
    """
    submit = TaskSubmit(id=new_id, priority=request.priority, submit_key=request.submit_key)
    spec = submit.spec
    spec.CopyFrom(request.spec)
    _check_size(spec)
    _complete_kind(spec)
    _complete_sandbox(spec, sandbox)
    _check_command(spec)
    payload.add_needs(spec)
    submit.name = request.name or payload.title(spec) or _first_word(spec)
    _flaw(checks.text_flaw("name", submit.name), "Use plain text of at most 200 characters.")
    _flaw(checks.text_flaw("submit_key", submit.submit_key), _PLAIN)
    _within("priority", submit.priority, 0, PRIORITY_LIMIT, "Give a whole number; higher runs first.")
    if spec.env:
        environment.check(spec.env)
    _complete_times(spec, lease_ms)
    _complete_retry(spec)
    _check_codes("success_codes", spec.success_codes)
    _check_codes("no_retry_codes", spec.no_retry_codes)
    if spec.HasField("constraints"):
        _check_constraints(spec.constraints)
    _check_shares(spec)
    _check_size(spec)
    _flaw(checks.flaw(submit), "Correct the request.")
    return submit


def _check_size(spec: TaskSpec) -> None:
    size = spec.ByteSize()
    if size > SPEC_LIMIT_BYTES:
        message = f"The spec has {size} bytes, the limit is {SPEC_LIMIT_BYTES}."
        raise Fault(Code.TOO_LARGE, message, _FILE)


def _complete_kind(spec: TaskSpec) -> None:
    spec.type = spec.type or types_pb2.TASK_TYPE_SHELL
    _known("type", spec.type, TaskType.DESCRIPTOR.values_by_number)
    if spec.type not in checks.SUPPORTED:
        message = f"Tasks of type {checks.type_name(spec.type)} are not supported yet."
        raise Fault(Code.UNSUPPORTED, message, "Submit a shell task.")
    spec.on_lost = spec.on_lost or types_pb2.ON_LOST_REQUEUE
    _known("on_lost", spec.on_lost, OnLost.DESCRIPTOR.values_by_number)
    spec.on_exhausted = spec.on_exhausted or types_pb2.ON_EXHAUSTED_DEAD_LETTER
    _known("on_exhausted", spec.on_exhausted, OnExhausted.DESCRIPTOR.values_by_number)


def _complete_sandbox(spec: TaskSpec, default: SandboxLevel.ValueType) -> None:
    _known("sandbox", spec.sandbox, SandboxLevel.DESCRIPTOR.values_by_number)
    takes_level = spec.type in _SANDBOXED
    spec.sandbox = spec.sandbox or (default if takes_level else NO_SANDBOX)
    if not takes_level and spec.sandbox != NO_SANDBOX:
        message = f"A {checks.type_name(spec.type)} task runs at no sandbox level."
        raise Fault(Code.INVALID, message, "Leave sandbox out, or submit a shell task or a service.")


def _first_word(spec: TaskSpec) -> str:
    words = spec.shell_command.split() if spec.shell_command else list(spec.argv)
    word = (
        words[0].decode("utf-8", "replace").rstrip("/").rpartition("/")[2] if words else checks.type_name(spec.type)
    )
    return checks.UNSAFE.sub("?", word)[: checks.NAME_LIMIT_CHARS] or "task"


def _check_command(spec: TaskSpec) -> None:
    remedy = "Give the command as a list of arguments, or as one string for sh -c."
    if spec.argv and spec.shell_command:
        raise Fault(Code.INVALID, "Both argv and shell_command are given.", remedy)
    if spec.type == types_pb2.TASK_TYPE_SHELL:
        if not (spec.shell_command.strip() or (spec.argv and spec.argv[0])):
            raise Fault(Code.INVALID, "The command is empty.", remedy)
        if spec.payload:
            raise Fault(Code.INVALID, "payload means nothing for a shell task.", remedy)
    elif spec.type == types_pb2.TASK_TYPE_NOOP:
        if spec.argv or spec.shell_command or spec.payload:
            given = "payload" if spec.payload else "command"
            message = f"A noop task takes no {given}: it does nothing."
            raise Fault(Code.INVALID, message, "Leave it out, or choose another type.")
    elif spec.type in payload.KINDS:
        name = checks.type_name(spec.type)
        if (spec.argv or spec.shell_command) and spec.type not in payload.WITH_COMMAND:
            message = f"A {name} task has a payload, not a command."
            raise Fault(Code.INVALID, message, "Give it with --payload or --set.")
        payload.check(spec.type, name, spec.payload)
        payload.check_words(spec)
        if spec.type == types_pb2.TASK_TYPE_SERVICE and not (spec.shell_command.strip() or any(spec.argv[:1])):
            raise Fault(Code.INVALID, "The service has no command.", remedy)
    for number, argument in enumerate(spec.argv):
        if len(argument) >= ARGUMENT_LIMIT_BYTES or b"\0" in argument:
            raise _argument_fault(f"argv[{number}]", argument)
    if len(spec.shell_command) >= ARGUMENT_LIMIT_BYTES or b"\0" in spec.shell_command:
        raise _argument_fault("shell_command", spec.shell_command)
    if spec.cwd:
        _flaw(checks.text_flaw("cwd", spec.cwd, PATH_LIMIT_CHARS), "Give a plain path.")
        if not spec.cwd.startswith("/"):
            message = f"cwd is {spec.cwd[:200]!r}, it must be an absolute path."
            raise Fault(Code.INVALID, message, "Begin it with /.")


def _argument_fault(field: str, argument: bytes) -> Fault:
    if len(argument) < ARGUMENT_LIMIT_BYTES:
        return Fault(Code.INVALID, f"{field} has a NUL byte.", "No program can be given one in an argument.")
    message = f"{field} has {len(argument)} bytes, the kernel's limit is {ARGUMENT_LIMIT_BYTES - 1}."
    return Fault(Code.TOO_LARGE, message, _FILE)


def _complete_times(spec: TaskSpec, lease_ms: int) -> None:
    remedy = "Give a duration from 0 (none) to 365 days."
    _within("timeout_ms", spec.timeout_ms, 0, DURATION_LIMIT_MS, remedy)
    _within("queue_timeout_ms", spec.queue_timeout_ms, 0, DURATION_LIMIT_MS, remedy)
    if not spec.HasField("stall_after_ms"):
        # A service may have nothing to say for days.
        spec.stall_after_ms = 0 if spec.type == types_pb2.TASK_TYPE_SERVICE else STALL_AFTER_MS
    if not spec.HasField("idle_timeout_ms"):
        spec.idle_timeout_ms = IDLE_TIMEOUT_MS if spec.type in _AGENTS else 0
    _within("stall_after_ms", spec.stall_after_ms, 0, DURATION_LIMIT_MS, remedy)
    _within("idle_timeout_ms", spec.idle_timeout_ms, 0, DURATION_LIMIT_MS, remedy)
    limit_ms = lease_ms // 3
    if spec.on_lost == types_pb2.ON_LOST_WAIT:
        remedy = f"on_lost wait needs {lease_ms / 1000:g} seconds or more."
        _within("wait_ms", spec.wait_ms, lease_ms, DURATION_LIMIT_MS, remedy)
        limit_ms = spec.wait_ms // 3
    elif spec.wait_ms:
        message = f"wait_ms is {spec.wait_ms}, but on_lost is not wait."
        raise Fault(Code.INVALID, message, "Leave it out, or set on_lost to wait.")
    elif spec.on_lost == types_pb2.ON_LOST_HOLD:
        limit_ms = HOLD_KILL_LIMIT_MS
    default_ms = SERVICE_KILL_TIMEOUT_MS if spec.type == types_pb2.TASK_TYPE_SERVICE else KILL_TIMEOUT_MS
    spec.kill_timeout_ms = spec.kill_timeout_ms or min(default_ms, limit_ms)
    remedy = "It is at most a third of the lease, so that a cut-off machine ends its commands in time."
    _within("kill_timeout_ms", spec.kill_timeout_ms, 1, limit_ms, remedy)


def _complete_retry(spec: TaskSpec) -> None:
    given = spec.retry
    policy = RetryPolicy(
        max_retries=given.max_retries if given.HasField("max_retries") else MAX_RETRIES,
        backoff_ms=given.backoff_ms if given.HasField("backoff_ms") else BACKOFF_MS,
        backoff_multiplier=(
            given.backoff_multiplier if given.HasField("backoff_multiplier") else BACKOFF_MULTIPLIER
        ),
        max_backoff_ms=given.max_backoff_ms if given.HasField("max_backoff_ms") else MAX_BACKOFF_MS,
        retryable=given.retryable if given.HasField("retryable") else True,
        jitter=given.jitter or types_pb2.JITTER_FULL,
        max_elapsed_ms=given.max_elapsed_ms,
    )
    _within("retry.max_retries", policy.max_retries, 0, RETRIES_LIMIT, "0 means that the first failure is final.")
    remedy = "Give milliseconds, at most a day."
    _within("retry.backoff_ms", policy.backoff_ms, 0, BACKOFF_LIMIT_MS, remedy)
    _within("retry.max_backoff_ms", policy.max_backoff_ms, 0, BACKOFF_LIMIT_MS, remedy)
    _within("retry.max_elapsed_ms", policy.max_elapsed_ms, 0, DURATION_LIMIT_MS, "0 means no limit.")
    factor = policy.backoff_multiplier
    if not (math.isfinite(factor) and 1.0 <= factor <= MULTIPLIER_LIMIT):
        message = f"retry.backoff_multiplier is {factor}, it goes from 1 to {MULTIPLIER_LIMIT:g}."
        raise Fault(Code.INVALID, message, "2 doubles the delay with each retry.")
    _known("retry.jitter", policy.jitter, Jitter.DESCRIPTOR.values_by_number)
    given.CopyFrom(policy)


def _check_codes(field: str, codes: Sequence[int]) -> None:
    if len(codes) > CODES_LIMIT or any(not 0 <= code <= 255 for code in codes):
        message = f"{field} takes at most {CODES_LIMIT} exit codes from 0 to 255."
        raise Fault(Code.INVALID, message, "Name each code once.")


def _check_constraints(limits: Constraints) -> None:
    _within("constraints.min_memory_mb", limits.min_memory_mb, 0, MINIMUM_LIMIT, "Give megabytes.")
    _within("constraints.min_disk_gb", limits.min_disk_gb, 0, MINIMUM_LIMIT, "Give gigabytes.")
    _words("constraints.node_labels", [label.key for label in limits.node_labels], LIST_LIMIT)
    for label in limits.node_labels:
        _flaw(checks.text_flaw("A value in constraints.node_labels", label.value), _PLAIN)
    _words("constraints.capabilities", limits.capabilities, LIST_LIMIT)
    _words("constraints.preferred_capabilities", limits.preferred_capabilities, LIST_LIMIT)
    _words("constraints.allowed_nodes", limits.allowed_nodes, NODES_LIMIT)
    _words("constraints.excluded_nodes", limits.excluded_nodes, NODES_LIMIT)
    flaw = checks.text_flaw("constraints.target_node", limits.target_node, HOST_LIMIT_CHARS)
    _flaw(flaw, "Give a node id or a host name.")


def _check_shares(spec: TaskSpec) -> None:
    if spec.HasField("requests"):
        remedy = "Leave it out to reserve nothing."
        _within("requests.cpu_millis", spec.requests.cpu_millis, 0, AMOUNT_LIMIT, remedy)
        _within("requests.memory_bytes", spec.requests.memory_bytes, 0, AMOUNT_LIMIT, remedy)
        _within("requests.gpus", spec.requests.gpus, 0, AMOUNT_LIMIT, remedy)
    if spec.locks:
        _words("locks", spec.locks, LIST_LIMIT)
    _flaw(checks.text_flaw("limit_key", spec.limit_key), _PLAIN)
    _within("limit_count", spec.limit_count, 0, LIMIT_COUNT_LIMIT, "0 means no limit.")
    if spec.limit_count and not spec.limit_key:
        message = "limit_count is given without limit_key."
        raise Fault(Code.INVALID, message, "Say by limit_key which tasks share the limit.")


def _words(field: str, words: Iterable[str], limit: int) -> None:
    words = list(words)
    if len(words) > limit:
        raise Fault(Code.INVALID, f"{field} has {len(words)} items, the limit is {limit}.", "Name fewer.")
    for word in words:
        if not word:
            raise Fault(Code.INVALID, f"{field} has an empty item.", "Leave it out.")
        _flaw(checks.text_flaw(f"An item of {field}", word), _PLAIN)


def _flaw(message: str | None, remedy: str) -> None:
    if message is not None:
        raise Fault(Code.INVALID, message, remedy)


def _within(field: str, value: int, low: int, high: int, remedy: str) -> None:
    if not low <= value <= high:
        raise Fault(Code.INVALID, f"{field} is {value}, it goes from {low} to {high}.", remedy)


def _known(field: str, value: int, known: Container[int]) -> None:
    if value not in known:
        message = f"{field} has the unknown value {value}."
        raise Fault(Code.INVALID, message, "Use a value that this version's contract names.")
