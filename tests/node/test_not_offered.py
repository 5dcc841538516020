"""A type whose tool a machine lacks: nothing of it is placed there, and one sentence says what to do about it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cortex.v1.types_pb2 import Node, NodeState, Task, TaskSpec
from node.core import checks, explain
from node.core.state import ClusterState
from node.worker.executors import registry
from node.worker.executors.port import Setup

# What the executors of a machine without their tools are set up with.
LACKING: dict[str, Callable[[Path], dict[str, object]]] = {
    "claude_relay": lambda folder: {"inbox": str(folder / "none")},
    "container": lambda folder: {"engine": str(folder / "podman")},
    "k8s_job": lambda folder: {"kubeconfig": str(folder / "config")},
    "python": lambda folder: {},
    "subagent": lambda folder: {"command": "no-such-agent"},
}
# These need nothing but the daemon.
ALWAYS = {"noop", "service", "shell"}


def test_every_type_is_tried() -> None:
    assert LACKING.keys() | ALWAYS == set(registry.found_names())


@pytest.mark.parametrize("name", sorted(LACKING))
def test_what_a_machine_lacks_is_said_with_what_helps(tmp_path: Path, name: str) -> None:
    setup = Setup(tmp_path, {"PATH": "/usr/bin:/bin"}, LACKING[name](tmp_path))
    found = registry.load_all([name], lambda _: setup)
    node = Node(id="n1", state=NodeState.NODE_STATE_ACTIVE, online=True)
    registry.describe(node, found, {})
    assert not node.slots
    (offer,) = node.executors
    assert checks.type_name(offer.type) == name
    state = ClusterState()
    state.nodes["n1"] = node
    (verdict,) = explain.why(state, {}, Task(id="t", spec=TaskSpec(type=offer.type)))
    assert not verdict.eligible
    cause, _, remedy = offer.reason.rstrip(".").rpartition(". ")
    assert verdict.reason == f"runs no {name} tasks: {cause}"
    assert verdict.flip == f"on n1: {remedy}"
    # It stands alone in its column.
    assert "restart the daemon" in remedy
    assert not {"it", "that", "this"} & set(remedy.replace(",", "").split()[:3])
