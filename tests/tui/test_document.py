"""Documents: what YAML and JSON become, and every way to write them wrong, with line and remedy."""

from __future__ import annotations

from typing import Any

import pytest

from tui.written.document import MAX_VALUES, BadDocument, json_bytes, read_json, read_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("a", "a"),
        ("on: no", {"on": "no"}),
        ("a: true\nb: ~\nc:\nd: Null", {"a": True, "b": None, "c": None, "d": None}),
        ("a: 2026-01-31\nb: 1:30\nc: 12_000", {"a": "2026-01-31", "b": "1:30", "c": "12_000"}),
        ("a: 010\nb: 0o10\nc: 0x1F\nd: -3", {"a": 10, "b": 8, "c": 31, "d": -3}),
        ("a: 1e3\nb: .5\nc: 1.", {"a": 1000.0, "b": 0.5, "c": 1.0}),
        ('"1": x\n"on": y', {"1": "x", "on": "y"}),
        ("a: !!str 1", {"a": "1"}),
        ("d: &d {x: 1, y: 2}\ne: {<<: *d, y: 3}", {"d": {"x": 1, "y": 2}, "e": {"x": 1, "y": 3}}),
        (
            "a: &a {x: 1}\nb: &b {x: 2, y: 2}\nc: {<<: [*a, *b]}",
            {"a": {"x": 1}, "b": {"x": 2, "y": 2}, "c": {"x": 1, "y": 2}},
        ),
        ("a: |\n  x: 1\n  y\n", {"a": "x: 1\ny\n"}),
    ],
)
def test_yaml(text: str, value: Any) -> None:
    assert read_yaml(text).value == value


def test_lines_of_yaml() -> None:
    lines = read_yaml("name: x\ntasks:\n  a:\n    command: y\n  b: {}\n").lines
    assert lines["tasks", "a"] == 3
    assert lines["tasks", "a", "command"] == 4
    assert lines["tasks", "b"] == 5


BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{chr(98 + level)}: &{chr(98 + level)} [{','.join([f'*{chr(97 + level)}'] * 9)}]\n" for level in range(9)
)


@pytest.mark.parametrize(
    ("text", "line", "problem", "remedy"),
    [
        ("a: 1\nb: 2\na: 3", 3, "a: it is given twice", "Leave one of them out"),
        ("a: {b: 1,\n b: 2}", 2, "b: it is given twice", ""),
        ("1: a", 1, "the key 1 is no text", 'Write it in quotes: "1"'),
        ("true: a", 1, "the key true is no text", ""),
        ("'': a", 1, "a key is empty", "Write a word"),
        ("? [a]\n: b", 1, "a key is a list or a map", "Write a word"),
        ("a:\n\tb: 1", 2, "it is no YAML", "Indent with spaces"),
        ("a: x: y", 1, "it is no YAML", "quotes"),
        ("a: [1", 2, "it is no YAML", ""),
        ("a: *nothing", 1, "undefined alias", ""),
        ("a: &a [*a]", 1, "nested more than 64 levels", ""),
        ("[" * 200_000, 1, "nested more than 64 levels", ""),
        ("{a: " * 100_000, 1, "nested more than 64 levels", ""),
        (BOMB, 0, f"more than {MAX_VALUES} values, aliases written out", ""),
        ("a: .inf", 1, ".inf is no finite number", ""),
        ("a: .nan", 1, ".nan is no finite number", ""),
        ("a: 1e999", 1, "1e999 is no finite number", ""),
        ("a: " + "9" * 5000, 1, "is no finite number", ""),
        ("a: !!binary abc", 1, "it has the tag !!binary", "Leave tags out"),
        ("a: !!python/object/apply:os.system [x]", 1, "it has the tag !!python", ""),
        ("a: !!set {b}", 1, "it has the tag !!set", ""),
        ("a: !mine b", 1, "it has the tag !mine", ""),
        ("a: 1\n---\nb: 2", 2, "more than one document", "Leave one"),
        ("a: {<<: 3}", 1, "<< merges what is no map", ""),
        ("a: \x00", 0, "it is no YAML", ""),
        ("a: \x1b[31m", 0, "it is no YAML", ""),
    ],
    ids=lambda value: str(value)[:20],
)
def test_bad_yaml(text: str, line: int, problem: str, remedy: str) -> None:
    with pytest.raises(BadDocument) as caught:
        read_yaml(text)
    assert problem in caught.value.problem
    assert remedy in caught.value.remedy
    assert line in (0, caught.value.line)


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ('{"a": 1, "a": 2}', 0, "a: it is given twice"),
        ('{"a": NaN}', 0, "NaN is not valid JSON"),
        ('{"a": -Infinity}', 0, "-Infinity is not valid JSON"),
        ('{\n"a" 1}', 2, "Expecting ':' delimiter at column 5"),
        ("", 1, "Expecting value"),
        ('{"a": 1} x', 1, "Extra data"),
        ("[" * 70 + "]" * 70, 0, "nested more than 64 levels"),
        ("[" * 200_000, 0, "nested more than 64 levels"),
        ('{"a": ' + "9" * 5000 + "}", 0, "it is not valid JSON"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_bad_json(text: str, line: int, problem: str) -> None:
    with pytest.raises(BadDocument) as caught:
        read_json(text)
    assert problem in caught.value.problem
    assert caught.value.line == line


def test_a_large_document_is_read() -> None:
    text = "tasks:\n" + "".join(f"  t{number}:\n    command: echo {'x' * 1000}\n" for number in range(1000))
    assert len(text) > 1_000_000
    assert len(read_yaml(text).value["tasks"]) == 1000


def test_json_of_values() -> None:
    assert json_bytes({"a": [1, None, True, "ü"]}) == '{"a":[1,null,true,"ü"]}'.encode()
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    for value, problem in (
        (float("inf"), "not finite"),
        ("\ud800", "half a surrogate"),
        ({1, 2}, "JSON cannot"),
        (deep, "nested"),
    ):
        with pytest.raises(ValueError, match=problem):
            json_bytes(value)
