"""Machines that wait to be let in. None can yet: a machine joins with the cluster's secret alone."""

from __future__ import annotations

from dataclasses import replace

from cortex.v1 import types_pb2
from tui.columns.nodes import NODES

NONE_YET = "No machine waits: whoever has the cluster's secret joins at once, and approval is not asked yet."
WAITING = replace(NODES, empty=NONE_YET)


def waits(node: types_pb2.Node) -> bool:
    return node.state == types_pb2.NODE_STATE_PENDING_APPROVAL
