"""The daemon has one door to clock and randomness (node/env.py) and one to the environment (node/config.py), and no
state in modules: several daemons live in one process, on virtual time.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted((ROOT / "node").rglob("*.py"))
CONSOLE = sorted((ROOT / "tui").rglob("*.py"))

CLOCK = {
    "time.*",
    "datetime.datetime.now",
    "datetime.datetime.utcnow",
    "datetime.datetime.today",
    "datetime.date.today",
}
RANDOMNESS = {"random.*", "secrets.*", "os.urandom", "os.getrandom", "uuid.uuid1", "uuid.uuid4"}
ENVIRONMENT = {"os.environ", "os.environb", "os.getenv", "os.getenvb", "os.putenv"}
MODULES = {door.partition(".")[0] for door in CLOCK | RANDOMNESS | ENVIRONMENT}
# only types, which make nothing
HARMLESS = {"random.Random"}

# file or folder -> what it may use beside the doors, and why
ALLOWED = {
    "node/env.py": CLOCK | RANDOMNESS,
    "node/config.py": ENVIRONMENT,
    # processes of their own, which no simulation runs
    "node/supervisor/": CLOCK | RANDOMNESS,
    "node/drivers/": CLOCK | RANDOMNESS | ENVIRONMENT,
    "node/events.py": CLOCK,
    "node/pool/": CLOCK | ENVIRONMENT,
    "node/worker/benchmark.py": CLOCK | HARMLESS,
    # the console's own door
    "tui/link/target.py": ENVIRONMENT,
    # what the terminal can show
    "tui/app.py": {"os.environ"},
    # tells the gRPC library to be quiet, before it is loaded
    "tui/cli.py": {"os.environ"},
}
MUTATORS = {
    "add", "append", "appendleft", "clear", "discard", "extend", "insert", "pop", "popleft", "popitem", "remove",
    "setdefault", "update",
}  # fmt: skip


def imported_names(tree: ast.Module) -> dict[str, str]:
    """Local name -> what it stands for."""
    names: dict[str, str] = {}
    for statement in ast.walk(tree):
        if isinstance(statement, ast.Import):
            for alias in statement.names:
                name = alias.asname or alias.name.partition(".")[0]
                names[name] = alias.name if alias.asname else name
        elif isinstance(statement, ast.ImportFrom) and not statement.level:
            for alias in statement.names:
                names[alias.asname or alias.name] = f"{statement.module}.{alias.name}"
    return names


def dotted(node: ast.expr, names: dict[str, str]) -> str | None:
    """The full name that an expression like a.b.c stands for, if it begins with an imported name."""
    if isinstance(node, ast.Attribute):
        head = dotted(node.value, names)
        return f"{head}.{node.attr}" if head else None
    return names.get(node.id) if isinstance(node, ast.Name) else None


def annotations(tree: ast.Module) -> set[ast.AST]:
    """Every node inside a type annotation."""
    found: set[ast.AST] = set()
    for node in ast.walk(tree):
        for part in (getattr(node, "annotation", None), getattr(node, "returns", None)):
            if isinstance(part, ast.expr):
                found.update(ast.walk(part))
    return found


@cache
def parsed(source: str) -> ast.Module:
    """Once for all checks of a file."""
    return ast.parse(source)


def uses(source: str) -> Iterator[tuple[int, str]]:
    """Line and full name of everything of those modules that the code refers to."""
    tree = parsed(source)
    names = {name: full for name, full in imported_names(tree).items() if full.partition(".")[0] in MODULES}
    if not names:
        return
    types_only = annotations(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute | ast.Name) and node not in types_only:
            name = dotted(node, names)
            if name:
                yield node.lineno, name


def matches(name: str, doors: set[str]) -> bool:
    return any(name == door or (door.endswith(".*") and name.startswith(door[:-1])) for door in doors)


def misuses(source: str, allowed: set[str]) -> list[str]:
    doors = (CLOCK | RANDOMNESS | ENVIRONMENT) - allowed
    return [f"line {line}: {name}" for line, name in uses(source) if name not in HARMLESS and matches(name, doors)]


def allowed_in(file: Path) -> set[str]:
    place = file.relative_to(ROOT).as_posix()
    return set().union(*(doors for where, doors in ALLOWED.items() if place.startswith(where)))


def changed_by(node: ast.AST) -> str:
    """The name that is changed in place there; empty when none is."""
    changed: ast.expr | None = None
    if isinstance(node, ast.Subscript) and not isinstance(node.ctx, ast.Load):
        changed = node.value
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in MUTATORS:
        changed = node.func.value
    return changed.id if isinstance(changed, ast.Name) else ""


def module_state(source: str) -> list[str]:
    """Module-level names that a function rebinds or changes in place."""
    tree = parsed(source)
    own: set[str] = set()
    for statement in tree.body:
        targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
        own.update(target.id for target in targets if isinstance(target, ast.Name))
    if not any(isinstance(node, ast.Global) or changed_by(node) in own for node in ast.walk(tree)):
        return []
    found: list[str] = []
    functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    for function in functions:
        local = {arg.arg for arg in ast.walk(function) if isinstance(arg, ast.arg)}
        local |= {
            name.id for name in ast.walk(function) if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store)
        }
        for node in ast.walk(function):
            if isinstance(node, ast.Global):
                found.append(f"line {node.lineno}: global {', '.join(node.names)}")
            elif (name := changed_by(node)) in own - local:
                found.append(f"line {getattr(node, 'lineno', 0)}: {name}")
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_clock_randomness_and_environment_come_through_their_doors(file: Path) -> None:
    assert misuses(file.read_text(), allowed_in(file)) == []


@pytest.mark.parametrize("file", CONSOLE, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_console_reads_the_environment_in_one_place(file: Path) -> None:
    assert misuses(file.read_text(), CLOCK | RANDOMNESS | allowed_in(file)) == []


@pytest.mark.parametrize("file", FILES + CONSOLE, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_modules_keep_no_state(file: Path) -> None:
    assert module_state(file.read_text()) == []


@pytest.mark.parametrize("place", sorted(ALLOWED))
def test_every_exception_is_still_needed(place: str) -> None:
    files = [file for file in FILES + CONSOLE if file.relative_to(ROOT).as_posix().startswith(place)]
    assert any(misuses(file.read_text(), set()) for file in files)


@pytest.mark.parametrize(
    "source",
    [
        "import time\ntime.time()",
        "import time as t\nnow = t.monotonic",
        "from time import sleep\nsleep(1)",
        "import datetime\ndatetime.datetime.now()",
        "from datetime import datetime\ndatetime.now(tz)",
        "import random\nrandom.random()",
        "from secrets import token_hex\ntoken_hex()",
        "import os\nos.environ['A']",
        "from os import environ\nenviron.get('A')",
        "def f():\n    import uuid\n    return uuid.uuid4()",
    ],
)
def test_the_check_finds(source: str) -> None:
    assert misuses(source, set())


@pytest.mark.parametrize(
    "source",
    [
        "import random\ndef f(r: random.Random) -> float:\n    return r.random()",
        "from random import Random\ndef f(r: Random) -> float:\n    return r.random()",
        "import os\nos.path.join('a')",
        "def f(loop):\n    return loop.time()",
    ],
)
def test_the_check_lets_pass(source: str) -> None:
    assert misuses(source, set()) == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("A = []\ndef f():\n    A.append(1)", 1),
        ("A: dict = {}\ndef f():\n    A['x'] = 1", 1),
        ("A = 0\ndef f():\n    global A\n    A = 1", 1),
        ("A = {}\nA['x'] = 1\ndef f():\n    return A['x']", 0),
        ("A = []\ndef f(A):\n    A.append(1)", 0),
    ],
)
def test_the_state_check(source: str, found: int) -> None:
    assert len(module_state(source)) == found
