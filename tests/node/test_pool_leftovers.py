"""Which threads count as a handler's own, and which as those of a library."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from node.pool.leftovers import _is_own

MONITOR = """
import threading
class Monitor(threading.Thread):
    pass
"""


@pytest.mark.parametrize(
    ("folder", "modules", "own"),
    [
        ("site-packages", [], False),
        ("dist-packages", [], False),
        ("site-packages", ["leftover_monitor"], True),
        ("handlers", [], True),
    ],
)
def test_a_library_of_another_environment_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str, modules: list[str], own: bool
) -> None:
    """A handler's PYTHONPATH names one often: its workers are not to be replaced after each task."""
    (tmp_path / folder).mkdir()
    (tmp_path / folder / "leftover_monitor.py").write_text(MONITOR)
    monkeypatch.syspath_prepend(tmp_path / folder)
    try:
        module = importlib.import_module("leftover_monitor")
        assert _is_own(module.Monitor(), modules) == own
    finally:
        sys.modules.pop("leftover_monitor", None)
