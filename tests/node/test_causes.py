"""The types of failures that executors give: those of the documentation, each with a remedy, and no other."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from cortex.v1 import types_pb2
from node.worker.exchange import CAUSES
from node.worker.executors.port import CannotPrepare
from tui.store import ends

ROOT = Path(__file__).resolve().parents[2]
# What says how tasks of an executor end.
MODULES = {
    "container": ("drivers/container/*.py", "drivers/refusals.py"),
    "subagent, claude_relay": ("drivers/agent/*.py",),
    "k8s_job": ("drivers/k8s/*.py",),
    "service": ("drivers/service/*.py",),
    "python": ("pool/*.py", "drivers/python.py"),
}
# `exit` is how it ended anyway.
KNOWN = {*CAUSES, "exit"}
# Functions and classes that take a cause first.
TAKERS = {"fail", "verdict", "_failed", "End", "Failed", "InboxError", "Cannot", "told"}


def files(patterns: tuple[str, ...]) -> list[Path]:
    return sorted(file for pattern in patterns for file in (ROOT / "node").glob(pattern))


def words(file: Path) -> Iterator[str]:
    """Texts of the code, without those within others."""
    for each in ast.walk(ast.parse(file.read_text())):
        if isinstance(each, ast.Constant) and isinstance(each.value, str):
            yield each.value


def type_of(cause: str) -> str:
    """As users are told of it."""
    return "exit" if cause == "exit" else ends.BY_CAUSE[CAUSES[cause]].name


def table(title: str) -> list[list[str]]:
    """The cells of the table with this head."""
    _, found, text = (ROOT / "docs" / "errors.md").read_text().partition(f"{title}\n")
    assert found
    lines = text.split("\n\n")[0].splitlines()[1:]
    return [[cell.strip().replace("`", "") for cell in line.strip("|").split("|")] for line in lines]


def test_every_file_of_a_driver_is_somebody_s() -> None:
    shared = {"__init__.py", "kit.py"}
    found = {file for patterns in MODULES.values() for file in files(patterns)}
    assert {file.name for file in files(("drivers/*.py",)) if file not in found} == shared
    for name in shared:
        assert not KNOWN & set(words(ROOT / "node" / "drivers" / name)), name


@pytest.mark.parametrize("executor", MODULES)
def test_what_an_executor_gives_is_in_the_table(executor: str) -> None:
    given = {word for file in files(MODULES[executor]) for word in words(file)} & KNOWN
    told = [kind for kind, who, _ in table("| type | executor | where it comes from |") if who == executor]
    assert sorted(told) == sorted({type_of(cause) for cause in given})


@pytest.mark.parametrize("executor", MODULES)
def test_no_executor_gives_another(executor: str) -> None:
    for file in files(MODULES[executor]):
        for call in (each for each in ast.walk(ast.parse(file.read_text())) if isinstance(each, ast.Call)):
            name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
            if name not in TAKERS:
                continue
            for first in call.args[:2]:
                text = first.value if isinstance(first, ast.Constant) and isinstance(first.value, str) else ""
                # A sentence, or a name of one word: this must be a cause.
                assert " " in text or text in {*KNOWN, ""}, f"{file}:{call.lineno} {text}"


def test_all_executors_and_types_are_in_the_table() -> None:
    rows = table("| type | executor | where it comes from |")
    everywhere = {kind for kinds, who, _ in rows if who == "all" for kind in kinds.split(", ")}
    own = {kind for kinds, who, _ in rows if who != "all" for kind in kinds.split(", ")}
    assert {who for _, who, _ in rows} == {"all", *MODULES}
    assert everywhere | own == {each.name for each in ends.BY_CAUSE.values()}
    assert all(where for _, _, where in rows)


def test_the_types_of_the_documentation_are_those_that_there_are() -> None:
    rows = {tuple(row) for row in table("| type | what happened | what helps |")}
    plain = {tuple(word.replace("`", "") for word in each) for each in ends.BY_CAUSE.values()}
    assert rows == plain


@pytest.mark.parametrize("cause", [*CAUSES.values(), CannotPrepare("No.").cause, types_pb2.CAUSE_EXIT])
def test_every_cause_has_a_remedy(cause: int) -> None:
    found = ends.BY_CAUSE[cause]
    assert found.remedy.endswith(".")
    assert found.meaning.endswith(".")
