"""What a person writes for a task (flags, a line of a file) -> TaskRequest. Pure.

Only what must be known to build the message is checked here; limits are the cluster's to judge.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from cortex.v1 import cluster_pb2, types_pb2
from tui.drawing.format import parse_duration_ms, parse_size_bytes
from tui.drawing.text import clean
from tui.written import categories

Setter = Callable[[cluster_pb2.TaskRequest, Any], None]
_CAMEL = re.compile(r"(?<=[a-z0-9])([A-Z])")
_WAIT = re.compile(r"wait(?:[(:](?P<length>[^)]*)\)?)?")
MAX_PRIORITY = 10
PRIORITIES = {"P0": 10, "P1": 5, "P2": 0}
MAX_INT32 = 2**31 - 1


class BadField(ValueError):
    """One field cannot be understood: its name as the user wrote it, and what is wrong."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{clean(field)}: {problem}")
        self.field = field
        self.problem = problem


def task_request(fields: Mapping[str, Any]) -> cluster_pb2.TaskRequest:
    """The request of one task; keys as the flags, `-` and camelCase allowed. Raises BadField."""
    request = cluster_pb2.TaskRequest()
    request.spec.type = types_pb2.TASK_TYPE_SHELL
    seen: set[str] = set()
    try:
        fields = categories.unfolded(fields)
    except categories.CategoryError as error:
        raise BadField(error.field, error.problem) from None
    for written, value in fields.items():
        key = snake(written)
        setter = SETTERS.get(key)
        if setter is None:
            raise BadField(str(written), unknown(key, SETTERS))
        if key in seen:
            raise BadField(str(written), "it is given twice")
        seen.add(key)
        if value is None:
            continue
        try:
            setter(request, value)
        except BadField:
            raise
        except ValueError as error:
            raise BadField(str(written), str(error)) from None
    spec = request.spec
    if spec.type == types_pb2.TASK_TYPE_SHELL and not spec.argv and not spec.shell_command:
        raise BadField("command", "there is none")
    return request


def unknown(key: str, known: Iterable[str]) -> str:
    """What to say of a key that nobody knows: the one that is meant, if any comes near."""
    names = list(known)
    near = get_close_matches(key, names, 1)
    return "there is no such key; " + (f"the nearest is {near[0]}" if near else f"keys are {', '.join(names)}")


def snake(key: object) -> str:
    return _CAMEL.sub(r"_\1", str(key)).replace("-", "_").lower()


# Values


def whole(value: Any, low: int = 0, high: int = MAX_INT32) -> int:
    """An integer from `low` to `high`. Raises ValueError; NaN, fractions and true are none."""
    wanted = f"a whole number from {low} to {high}"
    if isinstance(value, str) and re.fullmatch(r"[+-]?\d{1,19}", value.strip()):
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ValueError(f"{_shown(value)} is not {wanted}")
    return value


def string(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"{_shown(value)} is not text")
    text = str(value)
    _utf8(text)
    return text


def boolean(value: Any) -> bool:
    if isinstance(value, str) and value.lower() in ("true", "yes", "false", "no"):
        return value.lower() in ("true", "yes")
    if not isinstance(value, bool):
        raise ValueError(f"{_shown(value)} is neither true nor false")
    return value


def milliseconds(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"{_shown(value)} is no duration; write it as 30s, 5m or 1h30m")
    return parse_duration_ms(str(value))


def megabytes(value: Any) -> int:
    """Units of 10^6 bytes, rounded up; a bare number counts in them."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"{_shown(value)} is no size; write it as 512MB or 2GiB")
    return -(-parse_size_bytes(str(value), "mb") // 10**6)


def size_bytes(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"{_shown(value)} is no size; write it as 512MB or 2GiB")
    return parse_size_bytes(str(value))


def strings(value: Any) -> list[str]:
    items = [value] if isinstance(value, str) else value
    if not isinstance(items, Sequence) or isinstance(items, bytes):
        raise ValueError(f"{_shown(value)} is no list")
    return [string(item) for item in items]


def mapping(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(f"{_shown(value)} is not a map of names to values")
    found: dict[str, Any] = {}
    for key, item in value.items():
        if snake(key) in found:
            raise ValueError(f"{clean(str(key))} is given twice")
        found[snake(key)] = item
    return found


def label(text: str) -> types_pb2.Label:
    """`key=value`, or a plain tag."""
    key, _, value = text.partition("=")
    if not key:
        raise ValueError(f"{_shown(text)} is no label; write it as key=value or key")
    return types_pb2.Label(key=key, value=value)


def choice(enum: Any, prefix: str, value: Any) -> Any:
    """The number of an enum's member by its name without prefix, in any case."""
    known = {name.removeprefix(prefix).lower(): number for name, number in enum.items() if number}
    name = string(value).lower().replace("-", "_")
    if name not in known:
        raise ValueError(f"{_shown(value)} is none of {', '.join(known)}")
    return known[name]


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return "a map"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "a list"
    text = json.dumps(value) if isinstance(value, str | bool) else str(value)
    return clean(text if len(text) <= 60 else text[:57] + "...")


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{_shown(text)} has half a surrogate pair") from None


# Fields


def _command(request: cluster_pb2.TaskRequest, value: Any) -> None:
    if isinstance(value, str):
        request.spec.shell_command = _utf8(value)
        if not value.strip():
            raise ValueError("it is empty")
        return
    if not isinstance(value, Sequence) or not value:
        raise ValueError(f"{_shown(value)} is neither a list of arguments nor a string for sh -c")
    request.spec.argv.extend(part if isinstance(part, bytes) else _utf8(string(part)) for part in value)


def _env(request: cluster_pb2.TaskRequest, value: Any) -> None:
    if not isinstance(value, Mapping):
        raise ValueError(f"{_shown(value)} is not a map of names to values")
    for name, text in value.items():
        data = text if isinstance(text, bytes) else _utf8(string(text))
        request.spec.env.append(types_pb2.EnvVar(name=string(name), value=data))


def _cwd(request: cluster_pb2.TaskRequest, value: Any) -> None:
    path = string(value)
    if not path.startswith("/"):
        raise ValueError(f"{_shown(path)} is not absolute; the node's folders are not this one's")
    request.spec.cwd = path


def _retries(request: cluster_pb2.TaskRequest, value: Any) -> None:
    request.spec.retry.max_retries = whole(value)


def _retry_policy(request: cluster_pb2.TaskRequest, value: Any) -> None:
    retry = request.spec.retry
    for key, item in mapping(value).items():
        if key in ("max_retries", "backoff_ms", "max_backoff_ms", "max_elapsed_ms"):
            setattr(retry, key, whole(item))
        elif key == "backoff_multiplier":
            if isinstance(item, bool) or not isinstance(item, int | float) or not 0 < item < 1e6:
                raise BadField(f"retry_policy.{key}", f"{_shown(item)} is no positive number")
            retry.backoff_multiplier = item
        elif key == "retryable":
            retry.retryable = boolean(item)
        elif key == "jitter":
            retry.jitter = choice(types_pb2.Jitter, "JITTER_", item)
        else:
            raise BadField(f"retry_policy.{key}", unknown(key, types_pb2.RetryPolicy.DESCRIPTOR.fields_by_name))


def _on_lost(request: cluster_pb2.TaskRequest, value: Any) -> None:
    waits = _WAIT.fullmatch(string(value).strip().lower())
    if waits is None:
        request.spec.on_lost = choice(types_pb2.OnLost, "ON_LOST_", value)
        return
    if not waits["length"]:
        raise ValueError("wait needs a length, as wait(30m)")
    request.spec.on_lost = types_pb2.ON_LOST_WAIT
    request.spec.wait_ms = parse_duration_ms(waits["length"])


def _constraints(request: cluster_pb2.TaskRequest, value: Any) -> None:
    into = request.spec.constraints
    for key, item in mapping(value).items():
        if key in ("requires_gpu", "avoid_gaming"):
            setattr(into, key, boolean(item))
        elif key in ("min_memory_mb", "min_disk_gb"):
            setattr(into, key, whole(item))
        elif key == "node_labels":
            into.node_labels.extend(label(text) for text in strings(item))
        elif key == "target_node":
            into.target_node = string(item)
        elif key in ("capabilities", "preferred_capabilities", "allowed_nodes", "excluded_nodes"):
            getattr(into, key).extend(strings(item))
        else:
            raise BadField(f"constraints.{key}", unknown(key, types_pb2.Constraints.DESCRIPTOR.fields_by_name))


def _requests(request: cluster_pb2.TaskRequest, value: Any) -> None:
    into = request.spec.requests
    for key, item in mapping(value).items():
        if key in ("cpu_millis", "gpus"):
            setattr(into, key, whole(item))
        elif key == "memory_bytes":
            into.memory_bytes = whole(item, high=2**62)
        elif key == "memory":
            into.memory_bytes = size_bytes(item)
        else:
            raise BadField(
                f"requests.{key}", unknown(key, ["memory", *types_pb2.Requests.DESCRIPTOR.fields_by_name])
            )


def _set(convert: Callable[[Any], Any], *path: str) -> Setter:
    """A setter of one field that `path` leads to; lists are extended."""

    def setter(request: cluster_pb2.TaskRequest, value: Any) -> None:
        into: Any = request
        for name in path[:-1]:
            into = getattr(into, name)
        made = convert(value)
        if isinstance(made, list):
            getattr(into, path[-1]).extend(made)
        else:
            setattr(into, path[-1], made)

    return setter


def priority(value: Any) -> int:
    """0 to 10, or one of P0, P1, P2, which are 10, 5 and 0."""
    if isinstance(value, str) and value.strip().upper() in PRIORITIES:
        return PRIORITIES[value.strip().upper()]
    return whole(value, 0, MAX_PRIORITY)


def _limit(request: cluster_pb2.TaskRequest, value: Any) -> None:
    """`key=3`: of the tasks with this key at most three are on nodes at once."""
    key, _, count = string(value).rpartition("=")
    if not key:
        raise ValueError(f"{_shown(value)} is no limit; write it as key=3")
    request.spec.limit_key, request.spec.limit_count = key, whole(count, 1)


def _labels(value: Any) -> list[types_pb2.Label]:
    return [label(text) for text in strings(value)]


def _codes(value: Any) -> list[int]:
    items = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    return [whole(item, 0, 255) for item in items]


def _payload(request: cluster_pb2.TaskRequest, value: Any) -> None:
    """A map, or JSON as text."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError as error:
            raise ValueError(f"it is not valid JSON: {error}") from None
    if not isinstance(value, Mapping):
        raise ValueError(f"{_shown(value)} is not a map")
    try:
        text = json.dumps(value, ensure_ascii=False, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"it cannot be JSON: {error}") from None
    request.spec.payload = text.encode("utf-8", "surrogateescape")


SETTERS: dict[str, Setter] = {
    "command": _command,
    "name": _set(string, "name"),
    "key": _set(string, "submit_key"),
    "priority": _set(priority, "priority"),
    "retries": _retries,
    "retry_policy": _retry_policy,
    "timeout": _set(milliseconds, "spec", "timeout_ms"),
    "queue_timeout": _set(milliseconds, "spec", "queue_timeout_ms"),
    "kill_timeout": _set(milliseconds, "spec", "kill_timeout_ms"),
    "stall_after": _set(milliseconds, "spec", "stall_after_ms"),
    "idle_timeout": _set(milliseconds, "spec", "idle_timeout_ms"),
    "cwd": _cwd,
    "env": _env,
    "on": _set(string, "spec", "constraints", "target_node"),
    "label": _set(_labels, "spec", "constraints", "node_labels"),
    "gpu": _set(boolean, "spec", "constraints", "requires_gpu"),
    "mem": _set(megabytes, "spec", "constraints", "min_memory_mb"),
    "sandbox": _set(lambda value: choice(types_pb2.SandboxLevel, "SANDBOX_LEVEL_", value), "spec", "sandbox"),
    "type": _set(lambda value: choice(types_pb2.TaskType, "TASK_TYPE_", value), "spec", "type"),
    "payload": _payload,
    "on_lost": _on_lost,
    "locks": _set(strings, "spec", "locks"),
    "constraints": _constraints,
    "requests": _requests,
    "limit": _limit,
    "capabilities": _set(strings, "spec", "constraints", "capabilities"),
    "prefer_capabilities": _set(strings, "spec", "constraints", "preferred_capabilities"),
    "success_codes": _set(_codes, "spec", "success_codes"),
    "no_retry_codes": _set(_codes, "spec", "no_retry_codes"),
    "on_exhausted": _set(
        lambda value: choice(types_pb2.OnExhausted, "ON_EXHAUSTED_", value), "spec", "on_exhausted"
    ),
}
