"""Nodes that are not heard, before the cluster is certain that they are gone. Pure."""

from __future__ import annotations

from tui.store.nodes import NodeRow
from tui.store.view import ClusterView

SILENT_AFTER_US = 6_000_000
"""Nodes report every second and their sessions beat every 5; who is not heard for longer may be gone."""

MEASURED_AFTER_US = 75_000_000
"""What is behind a node is measured every half minute."""


def silence_us(view: ClusterView, row: NodeRow, now_s: float) -> int:
    """How long nothing was heard of a node that counts as online still; 0 while that is not long.

    Also 0 while there is no link or no leader to tell: then nothing is known of any node.
    """
    told = row.view
    if view.past or told is None or told.age_us < 0 or not row.node.online or not told.HasField("resources"):
        return 0
    old_us = told.age_us + int((now_s - row.received_s) * 1e6)
    if (
        old_us < (MEASURED_AFTER_US if row.node.kind else SILENT_AFTER_US)
        or not view.leader
        or view.link.lost(now_s)
    ):
        return 0
    return old_us


def silent(view: ClusterView, now_s: float) -> int:
    """How many nodes are silent; counted once a second."""
    second, count = view.silent_then
    if second != int(now_s):
        count = 0
        begun_us = now_s * 1e6 - SILENT_AFTER_US
        for row in view.nodes.rows:
            # Most were heard just now; all are looked at each second.
            if row is None or (told := row.view) is None or told.age_us < row.received_s * 1e6 - begun_us:
                continue
            count += silence_us(view, row, now_s) > 0
        view.silent_then = (int(now_s), count)
    return count
