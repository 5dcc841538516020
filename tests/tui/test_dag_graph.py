"""The graph itself: what it accepts, in which order, who reaches whom."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest

from tests.tui.dag_random import random_graph
from tui.dag.graph import Edge, Graph, GraphError, Node


def node(key: str, parents: str = "") -> Node:
    return Node(key, tuple(Edge(parent) for parent in parents.split()))


def test_order_and_levels() -> None:
    graph = Graph([node("d", "b c"), node("b", "a"), node("c", "a b"), node("a")])
    assert [graph.keys[number] for number in graph.order] == ["a", "b", "c", "d"]
    assert dict(zip(graph.keys, graph.levels, strict=True)) == {"a": 0, "b": 1, "c": 2, "d": 3}
    assert graph.parents_of("d") == ("b", "c")
    assert graph.children_of("a") == ("b", "c")
    assert set(graph.edges()) == {("a", "b"), ("a", "c"), ("b", "c"), ("b", "d"), ("c", "d")}
    assert (graph.edge_count, len(graph), "a" in graph, "z" in graph) == (5, 4, True, False)


def test_parents_always_come_first_and_higher() -> None:
    for seed in range(300):
        graph = random_graph(Random(seed))
        row = {number: at for at, number in enumerate(graph.order)}
        assert sorted(row) == list(range(len(graph)))
        for child, parents in enumerate(graph.parents):
            assert all(row[parent] < row[child] for parent in parents)
            assert graph.levels[child] == max((graph.levels[parent] + 1 for parent in parents), default=0)


def test_reachability() -> None:
    for seed in range(100):
        graph = random_graph(Random(seed))
        closure: dict[str, set[str]] = {}
        for number in reversed(graph.order):
            below = {graph.keys[child] for child in graph.children[number]}
            closure[graph.keys[number]] = below.union(*(closure[key] for key in below))
        for key in graph.keys:
            assert graph.descendants(key) == closure[key]
            assert graph.ancestors(key) == {other for other in graph.keys if key in closure[other]}
            assert not graph.reaches(key, key)
            assert all(graph.reaches(key, other) == (other in closure[key]) for other in graph.keys)


def test_an_edge_counts_once_and_keeps_its_trigger() -> None:
    graph = Graph([node("a"), Node("b", (Edge("a"), Edge("a", "failure")))])
    assert graph.edge_count == 1
    assert graph.trigger("a", "b") == "failure"
    assert graph.trigger("b", "a") == ""


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ([node("a"), node("b"), node("a", "b")], "The key 'a' is given to two tasks."),
        ([node("a", "b")], "The task 'a' depends on 'b', which does not exist."),
        ([node("a", "a")], "The tasks depend on each other in a circle: 'a' before 'a'."),
        (
            [node("x"), node("a", "c x"), node("b", "a"), node("c", "b"), node("d", "c")],
            "The tasks depend on each other in a circle: 'a' before 'b' before 'c' before 'a'.",
        ),
    ],
)
def test_what_is_no_dag_is_refused(nodes: list[Node], message: str) -> None:
    with pytest.raises(GraphError) as caught:
        Graph(nodes)
    assert str(caught.value) == message


def test_a_cycle_is_named_as_it_is() -> None:
    for seed in range(100):
        random = Random(seed)
        graph = random_graph(random)
        key = random.choice(graph.keys)
        below = sorted(graph.descendants(key) | {key})
        back = random.choice(below)
        nodes = [Node(name, tuple(map(Edge, graph.parents_of(name)))) for name in graph.keys]
        nodes = [Node(one.key, (*one.parents, Edge(back))) if one.key == key else one for one in nodes]
        with pytest.raises(GraphError) as caught:
            Graph(nodes)
        names = str(caught.value).removesuffix(".").partition(": ")[2].split(" before ")
        assert names[0] == names[-1]
        edges = {*graph.edges(), (back, key)}
        for above, after in pairwise(names):
            if "…" not in (above, after):
                assert (above.strip("'"), after.strip("'")) in edges


def test_a_long_cycle_is_cut() -> None:
    nodes = [node(f"n{number}", f"n{(number - 1) % 1000}") for number in range(1000)]
    with pytest.raises(GraphError, match="…") as caught:
        Graph(nodes)
    assert len(str(caught.value)) < 150
