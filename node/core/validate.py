"""What may be asked for: limits, defaults, and for each refusal the field, the limit and the remedy.

complete() is for requests, before the log. The *_flaw functions are what apply still checks of an entry, so that
no row ever holds what later steps cannot work with; they change only with a feature level.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence

from cortex.v1 import types_pb2
from cortex.v1.cluster_pb2 import TaskRequest
from cortex.v1.log_pb2 import TaskSubmit
from cortex.v1.types_pb2 import (
    Constraints,
    EnvVar,
    Jitter,
    Node,
    OnExhausted,
    OnLost,
    RetryPolicy,
    SandboxLevel,
    TaskSpec,
    TaskType,
)
from node.core.faults import Code, Fault

SPEC_LIMIT_BYTES = 256 * 1024
# The kernel's limit of one argument or environment string, its NUL included (MAX_ARG_STRLEN).
ARGUMENT_LIMIT_BYTES = 128 * 1024
NAME_LIMIT_CHARS = 200
REASON_LIMIT_CHARS = 200
ID_LIMIT_CHARS = 64
PATH_LIMIT_BYTES = 4096
ENV_LIMIT = 1000
LIST_LIMIT = 100
NODES_LIMIT = 1000
BATCH_LIMIT = 100_000
PRIORITY_LIMIT = 10
RETRIES_LIMIT = 1000
DURATION_LIMIT_MS = 365 * 24 * 3600 * 1000
BACKOFF_LIMIT_MS = 24 * 3600 * 1000
MULTIPLIER_LIMIT = 100.0
AMOUNT_LIMIT = 1 << 50
# Leader time is kept below this, so that sums of times fit into 64 bits.
TIME_LIMIT_US = 1 << 61

LEASE_MS = 30_000
KILL_TIMEOUT_MS = 5_000
HOLD_KILL_LIMIT_MS = 3600 * 1000
MAX_RETRIES = 3
BACKOFF_MS = 1_000
BACKOFF_MULTIPLIER = 2.0
MAX_BACKOFF_MS = 60_000

SUPPORTED = frozenset({types_pb2.TASK_TYPE_SHELL, types_pb2.TASK_TYPE_NOOP})

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
# C0, DEL, C1, bidi controls and line separators: what can forge a line or a direction on a terminal or in a log.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
# Variables by which a loader or a shell would run other code than the command.
_LOADER_PREFIXES = ("LD_", "DYLD_", "CORTEX_")
_LOADER_NAMES = frozenset(
    {"BASH_ENV", "ENV", "GCONV_PATH", "GLIBC_TUNABLES", "IFS", "SHELLOPTS", "BASHOPTS", "PS4"}
)


# Words


def is_id(text: str) -> bool:
    """Whether `text` may be an id of a task, node or label key."""
    return _ID.fullmatch(text) is not None


def short(text: str) -> str:
    """At most as much of `text` as a reason may have."""
    return text[:REASON_LIMIT_CHARS]


def text_flaw(field: str, text: str, limit: int = NAME_LIMIT_CHARS) -> str | None:
    """What is wrong with a line of text, in one sentence."""
    if len(text) > limit:
        return f"{field} has {len(text)} characters, the limit is {limit}."
    found = _UNSAFE.search(text)
    if found is not None:
        return f"{field} has the control character U+{ord(found[0]):04X} at position {found.start()}."
    return None


def reason_flaw(text: str) -> str | None:
    return text_flaw("reason", text, REASON_LIMIT_CHARS) if text else None


def request_flaw(client: str, request_id: str) -> str | None:
    return text_flaw("client", client) or text_flaw("request_id", request_id)


def reason(text: str) -> str:
    """A reason or message as it goes into the log. Raises Fault."""
    text = text.strip()
    _refuse(reason_flaw(text), "Say it in one plain line of at most 200 characters.")
    return text


def request_id(text: str) -> str:
    """A request id as it goes into the log; empty when there is none. Raises Fault."""
    _refuse(text_flaw("request_id", text), "Use letters, digits and dashes.")
    return text


def _refuse(message: str | None, remedy: str, code: Code = Code.INVALID) -> None:
    if message is not None:
        raise Fault(code, message, remedy)


# What apply checks


def flaw(submit: TaskSubmit) -> str | None:
    """What makes a submission impossible to work with, in one sentence; None when apply may take it."""
    if not is_id(submit.id):
        return f"The task id must match {_ID.pattern}."
    if not 0 <= submit.priority <= PRIORITY_LIMIT:
        return f"priority is {submit.priority}, it goes from 0 to {PRIORITY_LIMIT}."
    found = text_flaw("name", submit.name)
    if found is None and submit.submit_key:
        found = text_flaw("submit_key", submit.submit_key)
    return found or spec_flaw(submit.spec)


def spec_flaw(spec: TaskSpec) -> str | None:
    """As flaw(), of a spec alone."""
    if spec.type not in SUPPORTED:
        return f"Tasks of type {_enum_name(TaskType, spec.type)} are not supported yet."
    if spec.ByteSize() > SPEC_LIMIT_BYTES:
        return f"The spec has {spec.ByteSize()} bytes, the limit is {SPEC_LIMIT_BYTES}."
    if spec.type == types_pb2.TASK_TYPE_SHELL and bool(spec.argv) == bool(spec.shell_command):
        return "A shell task has either argv or shell_command."
    if spec.queue_timeout_ms < 0 or spec.queue_timeout_ms > DURATION_LIMIT_MS:
        return f"queue_timeout_ms goes from 0 to {DURATION_LIMIT_MS}."
    if spec.limit_count < 0:
        return "limit_count must not be negative."
    if spec.HasField("requests"):
        for name in ("cpu_millis", "memory_bytes", "gpus"):
            if not 0 <= getattr(spec.requests, name) <= AMOUNT_LIMIT:
                return f"requests.{name} goes from 0 to {AMOUNT_LIMIT}."
    if spec.locks and len(set(spec.locks)) != len(spec.locks):
        return "locks names a lock twice."
    return None


def node_flaw(node: Node) -> str | None:
    """What makes a node's description impossible to work with."""
    if not is_id(node.id):
        return f"The node id must match {_ID.pattern}."
    if node.ByteSize() > 64 * 1024:
        return f"The node's description has {node.ByteSize()} bytes, the limit is {64 * 1024}."
    words = [node.hostname, node.address, node.incarnation, node.version, *node.capabilities]
    words += [text for label in node.labels for text in (label.key, label.value)]
    for word in words:
        found = text_flaw("A word of the node's description", word, 300)
        if found is not None:
            return found
    if len(node.labels) > LIST_LIMIT or len(node.capabilities) > LIST_LIMIT:
        return f"A node has at most {LIST_LIMIT} labels and as many capabilities."
    types = [offer.type for offer in node.slots]
    if len(set(types)) != len(types) or any(not 0 <= offer.count <= 100_000 for offer in node.slots):
        return "slots names each type once, with a count from 0 to 100000."
    if node.role not in (0, 1, 2):
        return f"There is no node role {node.role}."
    for name in ("cpu_millis", "memory_bytes", "gpus"):
        if not 0 <= getattr(node.capacity, name) <= AMOUNT_LIMIT:
            return f"capacity.{name} goes from 0 to {AMOUNT_LIMIT}."
    return None


def _enum_name(enum: type[TaskType], value: int) -> str:
    try:
        return enum.Name(value).removeprefix("TASK_TYPE_").lower()  # type: ignore[arg-type]
    except ValueError:
        return str(value)


# Requests


def complete_batch(requests: Sequence[TaskRequest], new_id: Callable[[], str]) -> list[TaskSubmit]:
    """Submissions for a batch, every one complete. Raises one Fault that names each bad line."""
    _refuse("The batch is empty." if not requests else None, "Give at least one task.")
    if len(requests) > BATCH_LIMIT:
        _refuse(f"The batch has {len(requests)} tasks, the limit is {BATCH_LIMIT}.", "Split it.", Code.TOO_LARGE)
    submits: list[TaskSubmit] = []
    faults: list[tuple[int, Fault]] = []
    for line, request in enumerate(requests, 1):
        try:
            submits.append(complete(request, new_id()))
        except Fault as fault:
            faults.append((line, fault))
    if faults:
        shown = " ".join(f"Line {line}: {fault.message}" for line, fault in faults[:20])
        more = f" And {len(faults) - 20} more lines." if len(faults) > 20 else ""
        remedies = " ".join(dict.fromkeys(fault.remedy for _, fault in faults[:20]))
        codes = {fault.code for _, fault in faults}
        code = codes.pop() if len(codes) == 1 else Code.INVALID
        raise Fault(code, f"Nothing was submitted. {shown}{more}", remedies)
    return submits


def complete(request: TaskRequest, new_id: str) -> TaskSubmit:
    """The submission of `request` with every default filled in. Raises Fault."""
    submit = TaskSubmit(id=new_id, priority=request.priority, submit_key=request.submit_key)
    spec = submit.spec
    spec.CopyFrom(request.spec)
    spec.type = spec.type or types_pb2.TASK_TYPE_SHELL
    _check_kind(spec)
    submit.name = request.name or _first_word(spec)
    _refuse(text_flaw("name", submit.name), f"Use plain text of at most {NAME_LIMIT_CHARS} characters.")
    _refuse(text_flaw("submit_key", submit.submit_key), "Use letters, digits and dashes.")
    _whole("priority", submit.priority, 0, PRIORITY_LIMIT, "Give a whole number; higher runs first.")
    _check_command(spec)
    _check_environment(spec)
    _complete_times(spec)
    _complete_retry(spec)
    _check_constraints(spec.constraints)
    _check_shares(spec)
    size = spec.ByteSize()
    _refuse(
        f"The spec has {size} bytes, the limit is {SPEC_LIMIT_BYTES}." if size > SPEC_LIMIT_BYTES else None,
        "Put large input into a file that the command reads.",
        Code.TOO_LARGE,
    )
    _refuse(flaw(submit), "Correct the request.")
    return submit


def _check_kind(spec: TaskSpec) -> None:
    _enum("type", spec.type, TaskType.DESCRIPTOR.values_by_number)
    _refuse(
        None
        if spec.type in SUPPORTED
        else f"Tasks of type {_enum_name(TaskType, spec.type)} are not supported yet.",
        "Submit a shell task.",
        Code.UNSUPPORTED,
    )
    spec.sandbox = spec.sandbox or types_pb2.SANDBOX_LEVEL_NONE
    _enum("sandbox", spec.sandbox, SandboxLevel.DESCRIPTOR.values_by_number)
    _refuse(
        None if spec.sandbox == types_pb2.SANDBOX_LEVEL_NONE else "No node offers this sandbox level yet.",
        "Use sandbox level none; a task never runs at a lower level than it asked for.",
        Code.UNSUPPORTED,
    )
    spec.on_lost = spec.on_lost or types_pb2.ON_LOST_REQUEUE
    _enum("on_lost", spec.on_lost, OnLost.DESCRIPTOR.values_by_number)
    spec.on_exhausted = spec.on_exhausted or types_pb2.ON_EXHAUSTED_DEAD_LETTER
    _enum("on_exhausted", spec.on_exhausted, OnExhausted.DESCRIPTOR.values_by_number)


def _first_word(spec: TaskSpec) -> str:
    words = spec.shell_command.split() if spec.shell_command else list(spec.argv)
    word = words[0].decode("utf-8", "replace").rsplit("/", 1)[-1] if words else "noop"
    return _UNSAFE.sub("?", word)[:NAME_LIMIT_CHARS] or "task"


def _check_command(spec: TaskSpec) -> None:
    remedy = "Give the command as a list of arguments, or as one string for sh -c."
    if spec.argv and spec.shell_command:
        _refuse("Both argv and shell_command are given.", remedy)
    if spec.type == types_pb2.TASK_TYPE_SHELL and not (spec.shell_command.strip() or (spec.argv and spec.argv[0])):
        _refuse("The command is empty.", remedy)
    if spec.payload and spec.type == types_pb2.TASK_TYPE_SHELL:
        _refuse("payload means nothing for a shell task.", remedy)
    for number, argument in enumerate([*spec.argv, spec.shell_command]):
        field = "shell_command" if number == len(spec.argv) else f"argv[{number}]"
        if len(argument) >= ARGUMENT_LIMIT_BYTES:
            message = f"{field} has {len(argument)} bytes, the kernel's limit is {ARGUMENT_LIMIT_BYTES - 1}."
            _refuse(message, "Put large input into a file that the command reads.", Code.TOO_LARGE)
        if b"\0" in argument:
            _refuse(f"{field} has a NUL byte.", "No program can be given one in an argument.")
    if spec.cwd:
        _refuse(text_flaw("cwd", spec.cwd, PATH_LIMIT_BYTES), "Give a plain path.")
        _refuse(None if spec.cwd.startswith("/") else f"cwd {spec.cwd!r} is not absolute.", "Begin it with /.")


def _check_environment(spec: TaskSpec) -> None:
    if len(spec.env) > ENV_LIMIT:
        _refuse(f"env has {len(spec.env)} variables, the limit is {ENV_LIMIT}.", "Use a file.")
    seen: set[str] = set()
    for variable in spec.env:
        _check_variable(variable)
        if variable.name in seen:
            _refuse(f"env names {variable.name} twice.", "Give it once.")
        seen.add(variable.name)


def _check_variable(variable: EnvVar) -> None:
    name = variable.name
    if not name or "=" in name:
        _refuse(f"env has the name {name!r}, which is empty or has a =.", "Write NAME=VALUE.")
    _refuse(text_flaw("A name in env", name), "Use letters, digits and _.")
    if name.startswith(_LOADER_PREFIXES) or name in _LOADER_NAMES:
        message = f"env must not set {name}: it changes which code runs, or belongs to Cortex."
        _refuse(message, f"If it is needed, let the command set it: env {name}=... COMMAND.")
    if b"\0" in variable.value:
        _refuse(f"The value of {name} in env has a NUL byte.", "No environment can hold one.")
    if len(name.encode()) + len(variable.value) + 2 > ARGUMENT_LIMIT_BYTES:
        _refuse(
            f"{name} in env is longer than the kernel's limit of {ARGUMENT_LIMIT_BYTES - 1} bytes.", "Use a file."
        )


def _complete_times(spec: TaskSpec) -> None:
    remedy = "Give a duration from 0 (none) to 365 days."
    _whole("timeout_ms", spec.timeout_ms, 0, DURATION_LIMIT_MS, remedy)
    _whole("queue_timeout_ms", spec.queue_timeout_ms, 0, DURATION_LIMIT_MS, remedy)
    if spec.on_lost == types_pb2.ON_LOST_WAIT:
        _whole("wait_ms", spec.wait_ms, LEASE_MS, DURATION_LIMIT_MS, "on_lost wait needs 30 seconds or more.")
        lease_ms = spec.wait_ms
    else:
        _refuse(
            f"wait_ms is {spec.wait_ms}, but on_lost is not wait." if spec.wait_ms else None,
            "Leave it out, or set on_lost to wait.",
        )
        lease_ms = LEASE_MS
    limit_ms = HOLD_KILL_LIMIT_MS if spec.on_lost == types_pb2.ON_LOST_HOLD else lease_ms // 3
    spec.kill_timeout_ms = spec.kill_timeout_ms or KILL_TIMEOUT_MS
    remedy = "It is at most a third of the lease, so that a lost machine ends its commands in time."
    _whole("kill_timeout_ms", spec.kill_timeout_ms, 1, limit_ms, remedy)


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
    _whole("retry.max_retries", policy.max_retries, 0, RETRIES_LIMIT, "0 means that the first failure is final.")
    remedy = "Give milliseconds, at most a day."
    _whole("retry.backoff_ms", policy.backoff_ms, 0, BACKOFF_LIMIT_MS, remedy)
    _whole("retry.max_backoff_ms", policy.max_backoff_ms, 0, BACKOFF_LIMIT_MS, remedy)
    _whole("retry.max_elapsed_ms", policy.max_elapsed_ms, 0, DURATION_LIMIT_MS, "0 means no limit.")
    factor = policy.backoff_multiplier
    if not (math.isfinite(factor) and 1.0 <= factor <= MULTIPLIER_LIMIT):
        message = f"retry.backoff_multiplier is {factor}, it goes from 1 to {MULTIPLIER_LIMIT:g}."
        _refuse(message, "2 doubles the delay with each retry.")
    _enum("retry.jitter", policy.jitter, Jitter.DESCRIPTOR.values_by_number)
    spec.retry.CopyFrom(policy)
    for name in ("success_codes", "no_retry_codes"):
        codes = getattr(spec, name)
        if len(codes) > 256 or any(not 0 <= code <= 255 for code in codes):
            _refuse(f"{name} has something else than exit codes from 0 to 255.", "Name each code once.")


def _check_constraints(limits: Constraints) -> None:
    _whole("constraints.min_memory_mb", limits.min_memory_mb, 0, 10**9, "Give megabytes.")
    _whole("constraints.min_disk_gb", limits.min_disk_gb, 0, 10**9, "Give gigabytes.")
    labels = [text for label in limits.node_labels for text in (label.key, label.value)]
    if any(not label.key for label in limits.node_labels):
        _refuse("constraints.node_labels has a label without a key.", "Write KEY or KEY=VALUE.")
    _words("constraints.node_labels", labels, 2 * LIST_LIMIT, empty=True)
    _words("constraints.capabilities", limits.capabilities, LIST_LIMIT)
    _words("constraints.preferred_capabilities", limits.preferred_capabilities, LIST_LIMIT)
    _words("constraints.allowed_nodes", limits.allowed_nodes, NODES_LIMIT)
    _words("constraints.excluded_nodes", limits.excluded_nodes, NODES_LIMIT)
    _refuse(text_flaw("constraints.target_node", limits.target_node, 253), "Give a node id or a host name.")


def _check_shares(spec: TaskSpec) -> None:
    if spec.HasField("requests"):
        for name in ("cpu_millis", "memory_bytes", "gpus"):
            _whole(
                f"requests.{name}", getattr(spec.requests, name), 0, AMOUNT_LIMIT, "Leave it out to reserve none."
            )
    _words("locks", spec.locks, LIST_LIMIT)
    _refuse(text_flaw("limit_key", spec.limit_key), "Use letters, digits and dashes.")
    _whole("limit_count", spec.limit_count, 0, 1_000_000, "0 means no limit.")
    if spec.limit_count and not spec.limit_key:
        _refuse("limit_count is given without limit_key.", "Say which tasks share the limit.")


def _words(field: str, words: Iterable[str], limit: int, *, empty: bool = False) -> None:
    words = list(words)
    if len(words) > limit:
        count, most = (len(words) // 2, limit // 2) if empty else (len(words), limit)
        _refuse(f"{field} has {count} items, the limit is {most}.", "Name fewer.")
    for word in words:
        if not word and not empty:
            _refuse(f"{field} has an empty item.", "Leave it out.")
        _refuse(text_flaw(f"An item of {field}", word), "Use letters, digits and dashes.")


def _whole(field: str, value: int, low: int, high: int, remedy: str) -> None:
    _refuse(None if low <= value <= high else f"{field} is {value}, it goes from {low} to {high}.", remedy)


def _enum(field: str, value: int, known: object) -> None:
    assert hasattr(known, "__contains__")
    _refuse(
        None if value in known else f"{field} has the unknown value {value}.",
        "Use a value of this version's contract.",
    )
