"""Files of tasks: JSON lines or YAML, every bad line named."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from cortex.v1 import cluster_pb2
from tui.drawing.text import clean
from tui.errors import ClusterError
from tui.written.taskspec import BadField, task_request

MAX_NAMED_LINES = 10
_NUMBERED = re.compile(r"\bLine (\d+):")


@dataclass(frozen=True)
class Item:
    """One task of a file: where it begins, and its fields or what is wrong with it."""

    line: int
    fields: Mapping[str, Any] | None
    problem: str = ""


def read_batch(text: str, name: str) -> tuple[list[cluster_pb2.TaskRequest], list[int]]:
    """The requests of a file and the line of each. Raises ClusterError that names every bad line."""
    items = list(_yaml_items(text) if is_yaml(text, name) else _json_items(text))
    requests: list[cluster_pb2.TaskRequest] = []
    problems: list[str] = []
    for item in items:
        try:
            if item.fields is None:
                raise ValueError(item.problem)
            requests.append(task_request(item.fields))
        except ValueError as error:
            problems.append(f"line {item.line}: {error}")
    if problems:
        raise bad_lines(name, problems)
    if not items:
        raise ClusterError(
            "invalid", f"{name} has no task in it.", "Write one JSON object per line, or a YAML list."
        )
    return requests, [item.line for item in items]


def bad_lines(name: str, problems: Sequence[str]) -> ClusterError:
    more = len(problems) - MAX_NAMED_LINES
    told = "; ".join(problems[:MAX_NAMED_LINES]) + (f"; and {more} more" if more > 0 else "")
    return ClusterError(
        "invalid", f"{clean(name)}: {told}.", "Correct these lines; nothing of the file was submitted."
    )


def name_lines(message: str, lines: Sequence[int]) -> str:
    """The cluster's message about a batch, in which `Line 3` is its third task, with the file's lines instead."""

    def line_of(match: re.Match[str]) -> str:
        number = int(match.group(1))
        return f"Line {lines[number - 1]}:" if 0 < number <= len(lines) else match.group()

    return _NUMBERED.sub(line_of, message)


def is_yaml(text: str, name: str) -> bool:
    """By the file's name, else by whether it begins as a JSON object does."""
    if name.endswith((".yaml", ".yml")):
        return True
    return not name.endswith((".jsonl", ".ndjson", ".json")) and not text.lstrip().startswith("{")


def _json_items(text: str) -> Iterator[Item]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line, object_pairs_hook=_unique)
        except BadField as error:
            yield Item(number, None, str(error))
        except RecursionError:
            yield Item(number, None, "it is nested too deeply")
        except ValueError as error:
            reason = (
                f"{error.msg} at column {error.colno}" if isinstance(error, json.JSONDecodeError) else str(error)
            )
            yield Item(number, None, f"it is not valid JSON ({reason})")
        else:
            yield Item(number, value) if isinstance(value, dict) else Item(number, None, "it is not a JSON object")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise BadField(key, "it is given twice")
        found[key] = value
    return found


class _Loader(yaml.SafeLoader):
    """YAML 1.2's booleans: the key `on` is a word."""

    yaml_implicit_resolvers = {  # noqa: RUF012
        first: [(tag, pattern) for tag, pattern in found if tag != "tag:yaml.org,2002:bool" or first in "tTfF"]
        for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def _yaml_items(text: str) -> Iterator[Item]:
    loader = _Loader(text)
    try:
        while loader.check_node():
            document: Any = loader.get_node()
            for node in document.value if isinstance(document, yaml.SequenceNode) else [document]:
                yield _yaml_item(loader, node)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        yield Item(
            mark.line + 1 if mark else 1, None, f"it is no YAML ({getattr(error, 'problem', None) or error})"
        )
    except RecursionError:
        yield Item(1, None, "it is nested too deeply")
    finally:
        loader.dispose()


def _yaml_item(loader: _Loader, node: yaml.Node) -> Item:
    line = node.start_mark.line + 1
    if not isinstance(node, yaml.MappingNode):
        return Item(line, None, "it is no map of keys to values")
    keys = [str(key.value) for key, _ in node.value]
    twice = sorted({key for key in keys if keys.count(key) > 1})
    if twice:
        return Item(line, None, f"{twice[0]}: it is given twice")
    return Item(line, loader.construct_document(node))
