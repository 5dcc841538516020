"""One JSON or YAML document -> plain values, every way to write it wrong named with its line. Pure.

YAML is read as its version 1.2 has it: `on`, `no`, `2026-01-31`, `1:30` are words, keys are unique, and only what
JSON could hold comes out. What aliases and merges expand to is bounded.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeAlias

import yaml

MAX_DEPTH = 64
MAX_VALUES = 200_000
_TAG = "tag:yaml.org,2002:"
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
_NULL = re.compile(r"~|null|Null|NULL|")
_RESOLVERS = (
    ("null", _NULL, [*"~nN", ""]),
    ("bool", _BOOL, [*"tTfF"]),
    ("int", _INT, [*"-+0123456789"]),
    ("float", _FLOAT, [*"-+.0123456789"]),
    ("float", _NOT_FINITE, [*"-+."]),
    ("merge", re.compile("<<"), ["<"]),
)

Path: TypeAlias = "tuple[str | int, ...]"


class BadDocument(ValueError):
    """It cannot be read: what is wrong, where (line from 1; 0 = not known), and what to do."""

    def __init__(self, problem: str, line: int = 0, remedy: str = "") -> None:
        super().__init__(f"line {line}: {problem}" if line else problem)
        self.problem = problem
        self.line = line
        self.remedy = remedy


@dataclass(frozen=True)
class Document:
    """The values, and the lines at which those of YAML begin."""

    value: Any
    lines: Mapping[Path, int] = field(default_factory=dict)


def read_json(text: str) -> Document:
    """Raises BadDocument."""
    try:
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_not_finite)
    except json.JSONDecodeError as error:
        raise BadDocument(f"it is not valid JSON ({error.msg} at column {error.colno})", error.lineno) from None
    except BadDocument:
        raise
    except RecursionError:
        raise _too_deep() from None
    except ValueError as error:
        raise BadDocument(f"it is not valid JSON ({error})") from None
    _check_depth(value)
    return Document(value)


def read_yaml(text: str) -> Document:
    """Raises BadDocument."""
    try:
        _check_events(text)
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            reader = _Reader(loader)
            return Document(None if node is None else reader.value(node, (), 0), reader.lines)
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        raise _bad_yaml(error, text) from None


def json_bytes(value: Any) -> bytes:
    """JSON of a value that a document may hold. Raises ValueError for what JSON has no word for."""
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except TypeError:
        raise ValueError("it holds something that JSON cannot") from None
    except RecursionError:
        raise ValueError(f"it is nested more than {MAX_DEPTH} levels deep") from None
    except UnicodeEncodeError:
        raise ValueError("it has half a surrogate pair") from None
    except ValueError:
        raise ValueError("it holds a number that is not finite") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise _twice(next(name for name in names if names.count(name) > 1))
    return found


def _not_finite(text: str) -> NoReturn:
    raise BadDocument(f"{text} is not valid JSON", 0, "Write a finite number, or null.")


def _twice(key: str, line: int = 0) -> BadDocument:
    return BadDocument(f"{key}: it is given twice", line, "Leave one of them out; the keys of a map are unique.")


def _too_deep(line: int = 0) -> BadDocument:
    return BadDocument(f"it is nested more than {MAX_DEPTH} levels deep", line, "Flatten it.")


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        if not level:
            return
        level = [
            inner
            for item in level
            if isinstance(item, dict | list)
            for inner in (item.values() if isinstance(item, dict) else item)
        ]
    if level:
        raise _too_deep()


# YAML


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    yaml_implicit_resolvers = {  # noqa: RUF012
        first: [
            (_TAG + kind, re.compile(f"(?:{pattern.pattern})$"))
            for kind, pattern, firsts in _RESOLVERS
            if first in firsts
        ]
        for first in {first for _, _, firsts in _RESOLVERS for first in firsts}
    }


def _check_events(text: str) -> None:
    """Bounds the depth before anything recurses over it."""
    depth = 0
    for event in yaml.parse(text, _Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                raise _too_deep(event.start_mark.line + 1 if event.start_mark else 0)
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


class _Reader:
    """Nodes -> values; counts what it makes, however often an alias repeats it."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader
        self._count = 0
        self.lines: dict[Path, int] = {}

    def value(self, node: yaml.Node, path: Path, depth: int) -> Any:
        line = node.start_mark.line + 1
        self._count += 1
        if self._count > MAX_VALUES:
            raise BadDocument(
                f"it holds more than {MAX_VALUES} values, aliases written out", line, "Write less, or split it."
            )
        if depth > MAX_DEPTH:
            raise _too_deep(line)
        self.lines[path] = line
        if isinstance(node, yaml.ScalarNode):
            return _scalar(node, line)
        if isinstance(node, yaml.SequenceNode):
            _check_tag(node, "seq", line)
            return [self.value(item, (*path, number), depth + 1) for number, item in enumerate(node.value)]
        assert isinstance(node, yaml.MappingNode)
        _check_tag(node, "map", line)
        return self._map(node, path, depth)

    def _map(self, node: yaml.MappingNode, path: Path, depth: int) -> dict[str, Any]:
        own: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if key_node.tag == _TAG + "merge":
                # Of what is merged, the first counts; what stands in the map itself counts more.
                for name, value in self._merged(value_node, path, depth).items():
                    merged.setdefault(name, value)
                continue
            key = _key(key_node, line)
            if key in own:
                raise _twice(key, line)
            own[key] = self.value(value_node, (*path, key), depth + 1)
            self.lines[*path, key] = line
        return {**merged, **own}

    def _merged(self, node: yaml.Node, path: Path, depth: int) -> dict[str, Any]:
        if isinstance(node, yaml.MappingNode):
            found = self.value(node, path, depth + 1)
            assert isinstance(found, dict)
            return found
        if isinstance(node, yaml.SequenceNode) and all(isinstance(item, yaml.MappingNode) for item in node.value):
            together: dict[str, Any] = {}
            for item in node.value:
                for name, value in self.value(item, path, depth + 1).items():
                    together.setdefault(name, value)
            return together
        raise BadDocument("<< merges what is no map", node.start_mark.line + 1, "Give it the alias of a map.")


def _key(node: yaml.Node, line: int) -> str:
    if not isinstance(node, yaml.ScalarNode):
        raise BadDocument("a key is a list or a map", line, "Write a word.")
    if not node.value:
        raise BadDocument("a key is empty", line, "Write a word.")
    if node.tag != _TAG + "str":
        raise BadDocument(f"the key {node.value} is no text", line, f'Write it in quotes: "{node.value}".')
    return str(node.value)


def _check_tag(node: yaml.Node, kind: str, line: int) -> None:
    if node.tag != _TAG + kind:
        raise BadDocument(f"it has the tag {_tag(node)}", line, "Leave tags out; values are what JSON can hold.")


def _tag(node: yaml.Node) -> str:
    tag = str(node.tag)
    return "!!" + tag.removeprefix(_TAG) if tag.startswith(_TAG) else tag


def _scalar(node: yaml.ScalarNode, line: int) -> Any:
    kind, text = node.tag.removeprefix(_TAG), str(node.value)
    if kind == "str":
        return text
    if kind == "null" and _NULL.fullmatch(text):
        return None
    if kind == "bool" and _BOOL.fullmatch(text):
        return text.lower() == "true"
    if kind in ("int", "float"):
        return _number(kind, text, line)
    if kind == "merge":
        return text
    _check_tag(node, "str", line)
    return text


def _number(kind: str, text: str, line: int) -> int | float:
    try:
        if kind == "float":
            number = float(text.replace(".inf", "inf").replace(".nan", "nan").lower())
            if number - number != 0:
                raise ValueError
            return number
        return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
    except ValueError:
        raise BadDocument(f"{text[:40]} is no finite number", line, "Write a finite number, or quote it.") from None


def _bad_yaml(error: yaml.YAMLError, text: str) -> BadDocument:
    mark = getattr(error, "problem_mark", None)
    line = mark.line + 1 if mark else 0
    if getattr(error, "problem", "") == "but found another document":
        return BadDocument("it has more than one document", line, "Leave one, without `---` between.")
    said = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
    lines = text.split("\n")
    around = lines[max(0, line - 2) : line] if line else []
    remedy = ""
    if any("\t" in one[: len(one) - len(one.lstrip())] for one in around):
        remedy = "Indent with spaces: YAML takes no tabs there."
    elif any(": " in one.partition(": ")[2] for one in around):
        remedy = "Put text that has a colon in it into quotes."
    return BadDocument(f"it is no YAML ({said})", line, remedy)
