"""The generated code that is checked in is what proto/generate.py makes of the sources, byte for byte."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROTO = Path(__file__).resolve().parents[1] / "proto"
GENERATED = "cortex/v1/*_pb2*.py*"


def contents(root: Path) -> dict[str, bytes]:
    return {file.relative_to(root).as_posix(): file.read_bytes() for file in sorted(root.glob(GENERATED))}


def test_generated_code_is_fresh(tmp_path: Path) -> None:
    subprocess.run([sys.executable, str(PROTO / "generate.py"), str(tmp_path)], check=True)
    fresh, checked_in = contents(tmp_path), contents(PROTO)
    assert sorted(fresh) == sorted(checked_in)
    stale = [name for name, content in fresh.items() if checked_in[name] != content]
    assert not stale, f"run `make proto`: {stale}"


def test_every_source_has_code() -> None:
    sources = {file.stem for file in PROTO.glob("cortex/v1/*.proto")}
    assert sources == {file.stem.removesuffix("_pb2") for file in PROTO.glob("cortex/v1/*_pb2.py")}
