"""What docs/consensus.md names as proof is there: tests, invariants as the checkers say them, bugs, benches."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.sim.runner import BUGS

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "docs/consensus.md").read_text()
_SPANS = re.compile(r"`([^`\n]+)`|“([^”]+)”")


def named() -> list[tuple[str, str]]:
    """Each test with the file named before it, and each saying of a checker with its file."""
    found: list[tuple[str, str]] = []
    file = ""
    for span, said in _SPANS.findall(TEXT):
        if re.fullmatch(r"[a-z0-9_/]+\.py", span):
            file = span
        elif re.fullmatch(r"test_\w+", span):
            found.append((file, f"def {span}("))
        elif said:
            found.append((file, " ".join(said.split())))
    return found


def test_enough_is_named() -> None:
    assert len(named()) > 100


@pytest.mark.parametrize("proof", sorted(set(named())), ids=" ".join)
def test_the_proof_is_there(proof: tuple[str, str]) -> None:
    file, what = proof
    assert what in (ROOT / "tests" / file).read_text()


def test_each_defect_of_raftos_has_its_tests() -> None:
    rows = re.findall(r"^\| (\d+) \|.*\| `test_(\d+)_…` in `([a-z0-9_/]+\.py)` \|$", TEXT, flags=re.MULTILINE)
    # The 14th is what is not there at all.
    assert [int(number) for number, _, _ in rows] == [*range(1, 14), 15]
    for number, prefix, file in rows:
        assert number == prefix
        assert f"def test_{number}_" in (ROOT / "tests" / file).read_text()


def test_the_bugs_are_those_of_the_simulation() -> None:
    lines = re.findall(r"^- Bugs: (.*(?:\n  .*)*)", TEXT, flags=re.MULTILINE)
    bugs = {bug for line in lines for bug in re.findall(r"`(\w+)`", line)}
    assert len(lines) > 5
    assert bugs <= set(BUGS)


def test_the_named_cases_are_there() -> None:
    found = 0
    file = ROOT
    for cell in re.findall(r"`([^`]*::[^`]+)`", (ROOT / "tests/consensus/README.md").read_text()):
        path, *names = cell.split("::")
        if path:
            file = ROOT / path if path.startswith("tests/") else ROOT / "tests/consensus" / path
        for name in (part for text in names for part in text.split(".")):
            assert re.search(rf"(def|class) {name}\b", file.read_text()), cell
            found += 1
    assert found > 40


def test_the_benches_are_there() -> None:
    benches = set(re.findall(r"bench\.([a-z_]+)", TEXT))
    assert benches
    for bench in benches:
        assert (ROOT / "bench" / f"{bench}.py").exists(), bench
