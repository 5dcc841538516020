"""What an explanation of a past moment says of figures that were not kept."""

from __future__ import annotations

import pytest

from cortex.v1.types_pb2 import Node, Resources
from node.core.hindsight import Scene
from node.rpc.why import _note, _Past
from node.store.asof import At


@pytest.mark.parametrize(
    ("away", "known", "said"),
    [
        ("", "abc", ""),
        ("c", "ab", ""),
        ("", "ab", "What c measured"),
        ("c", "", "What the nodes measured"),
    ],
)
def test_only_of_nodes_that_were_there_something_is_missing(away: str, known: str, said: str) -> None:
    nodes = [Node(id=node_id, online=node_id not in away) for node_id in "abc"]
    scene = Scene(1, nodes, [], samples=dict.fromkeys(known, Resources()))
    note = _note(scene, _Past(nodes, [], [], At(1, 1)))
    assert note.startswith(said)
    assert bool(note) == bool(said)
