"""What a person or program writes for a workflow (a YAML or JSON file, a dict) -> SubmitWorkflowRequest. Pure.

Fields of a task are those of task files, and those of the DAG; `-` and camelCase spellings are accepted. Cycles,
unknown dependencies and limits of single fields are the cluster's to judge.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from cortex.v1 import cluster_pb2, types_pb2
from tui.drawing.text import clean
from tui.errors import ClusterError
from tui.written.categories import is_category
from tui.written.document import BadDocument, Document, Path, json_bytes, read_json, read_yaml
from tui.written.taskspec import (
    SETTERS,
    BadField,
    boolean,
    choice,
    snake,
    string,
    strings,
    task_request,
    unknown,
    whole,
)

MAX_TASKS = 1000
MAX_FILE_BYTES = 4 * 1024 * 1024
MAX_NAMED = 10
TOP_FIELDS = ("name", "key", "context", "policy", "max_failures", "tasks")
TASK_FIELDS = tuple(name for name in SETTERS if name != "key")
OWN_FIELDS = ("key", "spec", "depends_on", "condition", "rule", "can_fail", "finally", "map")
# What a task of a workflow has beside its spec, not in it.
OUTSIDE_SPEC = frozenset({"name", "priority", "type"})
_JSON_BEGINS = re.compile(r"\s*\{\s*[\"}]")
_CONTEXT_KEY = re.compile(r"context\.(.+)")
EXAMPLE = "{name: deploy, tasks: {build: {command: make}, test: {command: make test, depends_on: [build]}}}"


class _Bad(Exception):
    """One thing that is wrong in the document."""

    def __init__(self, path: Path, where: str, problem: str, remedy: str) -> None:
        super().__init__(problem)
        self.path, self.where, self.problem, self.remedy = path, where, problem, remedy


class _TooMany(_Bad):
    """More tasks than a workflow holds."""


def read_workflow(text: str, name: str) -> cluster_pb2.SubmitWorkflowRequest:
    """The request of a file's text; `name` is the file's. Raises ClusterError that names all that is wrong."""
    if len(text) > MAX_FILE_BYTES:
        raise ClusterError(
            "too_large",
            f"{clean(name)} is larger than {MAX_FILE_BYTES >> 20} MiB.",
            _remedy("Put large input into files that the commands read"),
        )
    try:
        document = read_json(text) if _is_json(text, name) else read_yaml(text)
    except BadDocument as error:
        raise ClusterError("invalid", f"{clean(name)}: {clean(str(error))}.", _remedy(error.remedy)) from None
    return workflow_request(document, name)


def workflow_request(document: Document, name: str) -> cluster_pb2.SubmitWorkflowRequest:
    """The request of a document that comes from `name`. Raises ClusterError that names all that is wrong."""
    found: list[_Bad] = []
    request = _Reader(document, found).request()
    if not found:
        return request
    told = [_told(bad, document.lines) for bad in found[:MAX_NAMED]]
    more = f"; and {len(found) - MAX_NAMED} more" if len(found) > MAX_NAMED else ""
    remedy = ". ".join(list(dict.fromkeys(bad.remedy for bad in found if bad.remedy))[:3])
    code = "too_large" if any(isinstance(bad, _TooMany) for bad in found) else "invalid"
    raise ClusterError(code, f"{clean(name)}: {'; '.join(told)}{more}.", _remedy(remedy))


def _told(bad: _Bad, lines: Mapping[Path, int]) -> str:
    path = bad.path
    while path and path not in lines:
        path = path[:-1]
    line = lines.get(path) if path else None
    place = f"line {line}, " if line else ""
    return clean(f"{place}{bad.where}: {bad.problem}" if bad.where else f"{place}{bad.problem}")


def _remedy(text: str) -> str:
    return clean(f"{(text or 'Correct it').rstrip('.')}. Nothing was submitted.")


def _is_json(text: str, name: str) -> bool:
    """By the file's name, else by whether it begins as a JSON object does."""
    if name.endswith((".json", ".yaml", ".yml")):
        return name.endswith(".json")
    return _JSON_BEGINS.match(text) is not None


class _Reader:
    """One pass over a document, which collects what is wrong instead of stopping at it."""

    def __init__(self, document: Document, found: list[_Bad]) -> None:
        self._document = document
        self._found = found
        self._request = cluster_pb2.SubmitWorkflowRequest()
        self._context: Mapping[str, Any] = {}

    def request(self) -> cluster_pb2.SubmitWorkflowRequest:
        value = self._document.value
        if not isinstance(value, Mapping):
            what = "it is empty" if value is None else "it is no map with name and tasks"
            self._bad((), "", what, f"Write {EXAMPLE}; a list of commands is for `cortex submit --file`")
            return self._request
        # As elsewhere in YAML: a place for anchors.
        value = {name: item for name, item in value.items() if not str(name).startswith("x-")}
        fields = self._fields(value, (), "", TOP_FIELDS, {"submit_key": "key"})
        self._top(fields)
        if "tasks" in fields or not self._found:
            self._tasks(fields.get("tasks", ("tasks", None))[1])
        return self._request

    def _top(self, fields: Mapping[str, tuple[str, Any]]) -> None:
        if "name" not in fields and "tasks" in fields:
            self._bad((), "name", "there is none", "Write name: and a name at the top")
        setters: dict[str, Callable[[Any], None]] = {
            "name": lambda value: setattr(self._request, "name", string(value)),
            "key": lambda value: setattr(self._request, "submit_key", string(value)),
            "policy": self._policy,
            "max_failures": lambda value: setattr(self._request, "max_failures", whole(value)),
            "context": self._set_context,
        }
        for name, setter in setters.items():
            if name in fields:
                self._try(setter, fields[name][1], (fields[name][0],), "", fields[name][0])
        if not self._found:
            self._match_policy("policy" in fields, "max_failures" in fields)

    def _match_policy(self, named: bool, limited: bool) -> None:
        """max_failures needs its number, and a number its policy, which it alone implies."""
        wanted = types_pb2.FAILURE_POLICY_MAX_FAILURES
        if limited and not named:
            self._request.policy = wanted
        elif limited and self._request.policy != wanted:
            remedy = "Write policy: max_failures, or leave max_failures out"
            self._bad(("max_failures",), "max_failures", "the policy is another", remedy)
        elif self._request.policy == wanted and not limited:
            self._bad(("policy",), "policy", "max_failures says no number", "Write max_failures: 3 beside it")

    def _policy(self, value: Any) -> None:
        self._request.policy = choice(types_pb2.FailurePolicy, "FAILURE_POLICY_", snake(string(value)))

    def _set_context(self, value: Any) -> None:
        if not isinstance(value, Mapping):
            raise ValueError("it is not a map of names to values")
        self._context = value
        for key in sorted(value):
            try:
                self._request.context.add(key=_text(key), value=json_bytes(value[key]))
            except ValueError as error:
                raise BadField(f"context.{key}", str(error)) from None

    # Tasks

    def _tasks(self, value: Any) -> None:
        items = list(self._items(value))
        if not items:
            if not any(bad.path[:1] == ("tasks",) for bad in self._found):
                self._bad(("tasks",), "tasks", "there is none", f"Write at least one, as in {EXAMPLE}")
            return
        for path, key, fields in items:
            before = len(self._found)
            task = self._task(path, key, fields)
            if len(self._found) == before:
                self._request.tasks.append(task)
        count = sum(len(task.map) if task.mapped else 1 for task in self._request.tasks)
        if count > MAX_TASKS:
            expanded = ", maps expanded" if any(task.mapped for task in self._request.tasks) else ""
            problem = f"there are {count} tasks, the limit is {MAX_TASKS}{expanded}"
            self._found.append(_TooMany(("tasks",), "tasks", problem, "Split the workflow"))

    def _items(self, value: Any) -> Iterator[tuple[Path, str, Mapping[str, Any]]]:
        """Path, key and fields of each task of a map, or of a list of maps that have a key each."""
        remedy = "Write {command: make}, with the task's fields"
        if isinstance(value, Mapping):
            for key, fields in value.items():
                if isinstance(fields, Mapping):
                    yield ("tasks", key), str(key), fields
                else:
                    self._bad(("tasks", key), f"task {key}", "it is no map of fields to values", remedy)
        elif isinstance(value, Sequence) and not isinstance(value, str):
            for number, fields in enumerate(value):
                path: Path = ("tasks", number)
                if not isinstance(fields, Mapping):
                    self._bad(path, f"task number {number + 1}", "it is no map of fields to values", remedy)
                elif not isinstance(fields.get("key"), str) or not fields["key"]:
                    self._bad(
                        path, f"task number {number + 1}", "it has no key", "Write key: build in each of the list"
                    )
                else:
                    yield path, fields["key"], fields
        elif value is not None:
            self._bad(("tasks",), "tasks", "it is no map of keys to tasks", f"Write {EXAMPLE}")

    def _task(self, path: Path, key: str, written: Mapping[str, Any]) -> cluster_pb2.WorkflowTaskRequest:
        where = f"task {key}"
        task = cluster_pb2.WorkflowTaskRequest()
        self._try(lambda value: setattr(task, "key", _text(value)), key, path, where, "key")
        fields = self._fields(written, path, where, (*OWN_FIELDS, *TASK_FIELDS), {})
        if "key" in fields and fields["key"][1] != key:
            self._bad(
                path, f"{where}: key", f"it is {fields['key'][1]!r} here", "Leave it out; the key stands before it"
            )
        setters: dict[str, Callable[[Any], None]] = {
            "depends_on": lambda value: task.depends_on.extend(strings(value)),
            "condition": lambda value: setattr(task, "condition", _condition(value)),
            "rule": lambda value: setattr(task, "rule", choice(types_pb2.Rule, "RULE_", snake(string(value)))),
            "can_fail": lambda value: setattr(task, "can_fail", boolean(value)),
            "finally": lambda value: setattr(task, "finally", boolean(value)),
            "map": lambda value: self._map(task, value),
        }
        for name, (spelling, value) in fields.items():
            if name in setters:
                self._try(setters[name], value, (*path, spelling), where, spelling)
        self._fill_spec(task.task, path, where, fields)
        return task

    def _fill_spec(
        self, task: cluster_pb2.TaskRequest, path: Path, where: str, fields: Mapping[str, tuple[str, Any]]
    ) -> None:
        plain = {spelling: value for name, (spelling, value) in fields.items() if name in TASK_FIELDS}
        payload = b""
        try:
            if "spec" in fields:
                payload = _unfold(fields["spec"][1], plain, fields)
            task.CopyFrom(task_request(plain))
            if payload:
                task.spec.payload = payload
        except BadField as error:
            missing = error.field == "command" and "command" not in fields
            remedy = "Write command: make, or a list of arguments" if missing else ""
            self._bad((*path, error.field), f"{where}: {error.field}", error.problem, remedy)

    def _map(self, task: cluster_pb2.WorkflowTaskRequest, value: Any) -> None:
        if not isinstance(value, Mapping) or {snake(key) for key in value} != {"over"}:
            raise BadField("map", "it is no {over: ...}; write map: {over: [a, b]} or map: {over: context.files}")
        over = next(iter(value.values()))
        named = _CONTEXT_KEY.fullmatch(over) if isinstance(over, str) else None
        if named is not None:
            over = self._context.get(named[1])
            if named[1] not in self._context:
                raise BadField("map.over", f"the context has no {named[1]}")
        if not isinstance(over, Sequence) or isinstance(over, str):
            what = f"context.{named[1]} is no list" if named else "it is neither a list nor context.KEY"
            raise BadField("map.over", what)
        task.mapped = True
        for number, item in enumerate(over):
            try:
                task.map.append(json_bytes(item))
            except ValueError as error:
                raise BadField(f"map.over[{number}]", str(error)) from None

    # Helpers

    def _fields(
        self, written: Mapping[str, Any], path: Path, where: str, known: Sequence[str], also: Mapping[str, str]
    ) -> dict[str, tuple[str, Any]]:
        """Known field -> how it was spelled, and its value; those without a value are left out."""
        found: dict[str, tuple[str, Any]] = {}
        seen: dict[str, str] = {}
        prefix = f"{where}: " if where else ""
        for spelling, value in written.items():
            name = also.get(snake(spelling), snake(spelling))
            if name not in known:
                self._bad((*path, spelling), f"{prefix}{spelling}", unknown(name, known), "")
            elif name in seen:
                self._bad(
                    (*path, spelling),
                    f"{prefix}{spelling}",
                    f"it is given twice, as {seen[name]} too",
                    "Leave one of them out",
                )
            elif value is not None:
                found[name] = (str(spelling), value)
            seen.setdefault(name, str(spelling))
        return found

    def _try(self, setter: Callable[[Any], None], value: Any, path: Path, where: str, field: str) -> None:
        prefix = f"{where}: " if where else ""
        try:
            setter(value)
        except BadField as error:
            self._bad(path, f"{prefix}{error.field}", error.problem, "")
        except ValueError as error:
            self._bad(path, f"{prefix}{field}", str(error), "")

    def _bad(self, path: Path, where: str, problem: str, remedy: str) -> None:
        self._found.append(_Bad(path, where, problem, remedy))


def _unfold(spec: Any, plain: dict[str, Any], fields: Mapping[str, tuple[str, Any]]) -> bytes:
    """Puts the spec of a shell task among its plain fields; returns the payload of another one. Raises BadField."""
    if not isinstance(spec, Mapping):
        raise BadField("spec", "it is no map of fields to values")
    kind = str(fields["type"][1]) if "type" in fields else "shell"
    if is_category(kind):
        plain["payload"] = spec
        return b""
    if snake(kind) == "subagent":
        spec = {snake(key): value for key, value in spec.items()}
    if snake(kind) != "shell":
        try:
            return json_bytes(spec)
        except ValueError as error:
            raise BadField("spec", str(error)) from None
    known = [name for name in TASK_FIELDS if name not in OUTSIDE_SPEC]
    for spelling, value in spec.items():
        name = snake(spelling)
        if name not in known:
            raise BadField(f"spec.{spelling}", unknown(name, known))
        if name in fields:
            raise BadField(f"spec.{spelling}", "it is given in spec and beside it")
        if spelling in plain or name in {snake(one) for one in plain}:
            raise BadField(f"spec.{spelling}", "it is given twice")
        plain[spelling] = value
    return b""


def _condition(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else _text(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("it is no text; write it in quotes")
    return string(value)
