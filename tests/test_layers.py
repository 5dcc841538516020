"""Who may import whom: import-linter's contracts, and the proof in fresh interpreters that they hold."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent

# deterministic, without clock, randomness of their own or IO; `random` only for the type of what is passed in
PURE = {
    "__future__", "abc", "bisect", "collections", "contextlib", "cortex", "dataclasses", "enum", "functools",
    "google", "hashlib", "heapq", "itertools", "json", "math", "msgspec", "node", "operator", "random", "re", "re2",
    "shlex", "string", "struct", "types", "typing", "urllib.parse",
}  # fmt: skip
# of these the core must load none beyond what the generated messages load themselves
IMPURE = {
    "asyncio", "concurrent", "grpc", "multiprocessing", "psutil", "pynvml", "raftos", "secrets", "socket",
    "sqlite3", "ssl", "structlog",
}  # fmt: skip

CORE = ("node.core", "node.payloads")
PURE_FILES = sorted(file for package in CORE for file in (ROOT / package.replace(".", "/")).rglob("*.py"))


def modules_of(package: str) -> list[str]:
    """Dotted names of a package's modules, or of the single module."""
    path = ROOT / package.replace(".", "/")
    if not path.is_dir():
        return [package]
    files = sorted(file for file in path.rglob("*.py") if file.stem != "__main__")
    return [".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for file in files]


def loaded_in_turn(*groups: Iterable[str]) -> list[set[str]]:
    """Names in sys.modules of a fresh interpreter after it imported each group behind those before."""
    code = (
        f"import json, sys\nsys.path[:0] = {[str(ROOT), str(ROOT / 'proto')]!r}\n"
        f"for group in {[list(group) for group in groups]!r}:\n"
        "    for name in group: __import__(name)\n"
        "    print(json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [set(json.loads(line)) for line in done.stdout.splitlines()]


def loaded_by(*modules: str) -> set[str]:
    """Names in sys.modules of a fresh interpreter after it imported `modules`."""
    return loaded_in_turn(modules)[0]


def tops(modules: set[str]) -> set[str]:
    return {name.partition(".")[0] for name in modules}


def test_import_contracts_hold() -> None:
    done = subprocess.run([BIN / "lint-imports", "--no-cache"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("file", PURE_FILES, ids=lambda file: file.name)
def test_core_imports_only_what_is_pure(file: Path) -> None:
    for statement in ast.walk(ast.parse(file.read_text())):
        if isinstance(statement, ast.ImportFrom):
            names = [statement.module or ""]
        elif isinstance(statement, ast.Import):
            names = [alias.name for alias in statement.names]
        else:
            continue
        for name in names:
            assert {name, name.partition(".")[0]} & PURE, f"line {statement.lineno}: {name} is not known to be pure"
            assert not name.startswith("node.") or name.startswith(CORE), f"line {statement.lineno}: {name}"
            assert not name.startswith("google.") or name.startswith("google.protobuf"), f"line {statement.lineno}"


def test_core_at_run_time() -> None:
    core = loaded_by(*modules_of("node.core"))
    messages = loaded_by("cortex.v1.types_pb2", "cortex.v1.log_pb2")
    assert "node.core.model" in core
    assert not tops(core - messages) & IMPURE
    known = {name for name in core if name.startswith("node.") and not name.startswith("node.payloads")}
    assert known == set(modules_of("node.core"))


def test_console_never_loads_the_daemon() -> None:
    loaded = loaded_by(*modules_of("tui"))
    assert "tui" in loaded
    assert not tops(loaded) & {"node", "raftos", "psutil", "pynvml", "sqlite3"}


def test_supervisor_loads_the_standard_library_only() -> None:
    loaded = loaded_by(*modules_of("node.supervisor"))
    assert tops(loaded - loaded_by("json")) <= {*sys.stdlib_module_names, "node"}
    ours = {name for name in loaded if name.startswith("node.")}
    assert all(name.startswith("node.supervisor") for name in ours)
    assert not tops(loaded) & {"asyncio", "multiprocessing", "ssl", "sqlite3"}


def test_contract_loads_neither() -> None:
    contract = {f"cortex.v1.{file.stem}" for file in (ROOT / "proto/cortex/v1").glob("*_pb2*.py")}
    assert not tops(loaded_by(*contract)) & {"node", "tui"}


def test_what_parts_of_the_daemon_load() -> None:
    """One interpreter for all: what a part must not load, none before it has loaded either."""
    parts = [
        modules_of(name)
        for name in ("node.consensus.port", "node.store", "node.feed", "node.leader", "node.worker")
    ]
    starts = {"node.cli", "node.host", "node.daemon", "node.voter", "node.startup"}
    every = modules_of("node")
    others = [name for name in every if not name.startswith("node.consensus.raftos") and name not in starts]
    *loaded, all_but_the_engine, all_of_it = loaded_in_turn(*parts, others, every)
    for part, modules in zip(parts, loaded, strict=True):
        assert "grpc" not in tops(modules), part[0]
    assert "raftos" not in tops(all_but_the_engine)
    assert "node.replica" in all_of_it
    assert not tops(all_of_it) & {"tui", "textual"}
