"""A DAG in the console, over a real cluster: followed to its failure, run again from there, followed to its end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.console_terminal import ConsoleTerminal
from tests.e2e.harness import Cluster
from tests.e2e.workflow_kit import wait_for_leader
from tests.gate import gate_in, opened

pytestmark = pytest.mark.e2e

FLOW = """
name: release
tasks:
  lint: {{command: "true"}}
  test: {{command: ": < {gate}; test -e {fixed}", retries: 0, depends_on: [lint]}}
  pack: {{command: "echo {{{{item}}}}", map: {{over: [deb, rpm, oci]}}, depends_on: [lint]}}
  publish: {{command: echo published, depends_on: [test, pack]}}
  tell: {{command: echo over, finally: true}}
"""


@pytest.mark.parametrize("size", [(80, 24), (200, 50)])
def test_a_failure_is_followed_and_run_again(
    make_cluster: Callable[..., Cluster], tmp_path: Path, size: tuple[int, int]
) -> None:
    cluster = make_cluster(1)
    wait_for_leader(cluster)
    gate, fixed = gate_in(tmp_path), tmp_path / "fixed"
    flow = tmp_path / "flow.yaml"
    flow.write_text(FLOW.format(gate=gate, fixed=fixed))
    assert cluster.cortex("workflow", "submit", str(flow)).returncode == 0
    console = ConsoleTerminal(cluster.console_environ(), size)
    try:
        console.until("● live")
        console.type("3")
        console.until(lambda: "▸ running" in console.line_with("release"))
        console.type("\r")
        console.until(lambda: "▸ running" in console.line_with(" test "))
        console.until(lambda: "3✓" in console.line_with("pack[*]"))
        assert "◌ pending" in console.line_with(" publish ")
        with opened(gate):
            console.until(lambda: "☒ dead letter" in console.line_with(" test "))
            console.until(lambda: "↷ skipped" in console.line_with(" publish "))
            console.until(lambda: "✗ failed" in console.line_with("release"))
            console.type("f")
            console.until(lambda: console.line_with("▌ ").rstrip().find(" test ") > 0)
            console.type("r")
            console.until("Run 3 tasks again from test")
            assert "publish" in console.text
            assert "pack[0]" not in console.text, "what completed and does not come after it keeps its result"
            fixed.touch()
            console.type("y")
            console.until(lambda: "✓ completed" in console.line_with("release") and "run 2" in console.text)
            console.until(lambda: "✓ completed" in console.line_with(" publish "))
        console.type("Q")
        assert console.wait() == 0
    finally:
        console.close()
