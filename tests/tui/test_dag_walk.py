"""Ways through a DAG: along edges, to failures, along what takes longest."""

from __future__ import annotations

from itertools import permutations
from random import Random

import pytest

from tests.tui.dag_random import random_graph
from tui.dag import walk
from tui.dag.collapse import Folds
from tui.dag.graph import Edge, Graph, Node, State
from tui.dag.rail import Rail


def graph_of(edges: dict[str, str]) -> Graph:
    """Keys like `map[0]` get the template `map`."""
    return Graph(
        Node(key, tuple(Edge(parent) for parent in parents.split()), key.partition("[")[0] if "[" in key else "")
        for key, parents in edges.items()
    )


def test_along_edges() -> None:
    graph = graph_of({"a": "", "b": "a", "c": "a", "d": "b c"})
    rows = Rail(graph).keys
    assert rows == ("a", "b", "c", "d")
    assert [walk.parent(graph, rows, key) for key in rows] == ["a", "a", "a", "c"]
    assert [walk.child(graph, rows, key) for key in rows] == ["b", "d", "d", "d"]


def test_every_step_is_an_edge_or_stays() -> None:
    for seed in range(100):
        graph = random_graph(Random(seed))
        rows = Rail(graph).keys
        for key in rows:
            above, below = walk.parent(graph, rows, key), walk.child(graph, rows, key)
            assert above in graph.parents_of(key) or (above == key and not graph.parents_of(key))
            assert below in graph.children_of(key) or (below == key and not graph.children_of(key))


MAPPED = {
    "split": "",
    **{f"map[{number}]": "split" for number in range(5)},
    "reduce": "map[1] map[3]",
    "ship": "reduce",
}


def failures_met(folds: Folds, states: dict[str, State], key: str, *, back: bool = False) -> list[str]:
    met = []
    while (key := walk.next_failed(folds, lambda task: states.get(task, State.DONE), key, back=back)) not in met:
        met.append(key)
    return met


def test_next_failure_goes_round_and_into_groups() -> None:
    folds = Folds(graph_of(MAPPED))
    failed = dict.fromkeys(("map[1]", "map[4]", "ship"), State.FAILED)
    assert failures_met(folds, failed, "split") == ["map[1]", "map[4]", "ship"]
    assert failures_met(folds, failed, "map[2]") == ["map[4]", "ship", "map[1]"]
    assert failures_met(folds, failed, "ship", back=True) == ["map[4]", "map[1]", "ship"]
    assert failures_met(folds, failed, "template:map:1") == ["map[1]", "map[4]", "ship"]
    assert failures_met(folds, failed, "template:map:1", back=True) == ["map[4]", "map[1]", "ship"]
    assert failures_met(folds, {"split": State.FAILED}, "template:map:1") == ["split"]
    assert failures_met(folds, {"split": State.FAILED}, "split") == ["split"]
    assert failures_met(folds, {}, "split") == [""]


def test_all_failures_are_met() -> None:
    for seed in range(100):
        random = Random(seed)
        folds = Folds(random_graph(random, most=25))
        states = {key: random.choice((State.FAILED, State.DONE)) for key in folds.graph.keys}
        failed = {key for key, state in states.items() if state is State.FAILED}
        start = random.choice([*folds.graph.keys, *folds.groups])
        for back in (False, True):
            assert set(failures_met(folds, states, start, back=back)) == (failed or {""})


def longest(graph: Graph, rest: dict[str, float]) -> float:
    """By trying every way down."""

    def below(key: str) -> float:
        return rest[key] + max(map(below, graph.children_of(key)), default=0.0)

    return max(below(key) for key in graph.keys)


def test_critical_path() -> None:
    for seed in range(200):
        random = Random(seed)
        graph = random_graph(random, most=9)
        rest = {key: float(random.choice((0, 0, 1, 2, 5))) for key in graph.keys}
        path = walk.critical_path(graph, rest.__getitem__)
        assert path.remaining_s == longest(graph, rest)
        assert sum(rest[key] for key in path.keys) == path.remaining_s
        assert all(rest[key] > 0 for key in path.keys)
        assert all(graph.reaches(above, below) for above, below in zip(path.keys, path.keys[1:], strict=False))


def test_critical_path_of_nothing() -> None:
    assert walk.critical_path(Graph([]), lambda key: 1.0) == walk.CriticalPath((), 0.0)
    done = walk.critical_path(graph_of(MAPPED), lambda key: 0.0)
    assert done == walk.CriticalPath((), 0.0)


@pytest.mark.parametrize(("at_once", "seconds"), [(1, 80.0), (2, 50.0), (5, 40.0), (100, 40.0), (0, 80.0)])
def test_finish_depends_on_how_much_runs_at_once(at_once: int, seconds: float) -> None:
    assert walk.finish_s(graph_of(MAPPED), lambda key: 10.0, (), at_once) == seconds


def test_what_runs_already_goes_on() -> None:
    graph = graph_of({"a": "", "b": "a", "c": ""})
    rest = {"a": 10.0, "b": 10.0, "c": 5.0}
    assert walk.finish_s(graph, rest.__getitem__, (), 1) == 25.0
    assert walk.finish_s(graph, {**rest, "a": 0.0}.__getitem__, ("c",), 1) == 15.0


def test_finish_lies_between_its_bounds() -> None:
    for seed in range(200):
        random = Random(seed)
        graph = random_graph(random, most=9)
        rest = {key: float(random.choice((0, 1, 2, 5))) for key in graph.keys}
        critical = walk.critical_path(graph, rest.__getitem__).remaining_s
        total = sum(rest.values())
        for at_once in (1, 2, 3, 9):
            seconds = walk.finish_s(graph, rest.__getitem__, (), at_once)
            assert max(critical, total / at_once) <= seconds + 1e-9
            assert (
                seconds <= critical + (total - critical) / at_once + 1e-9
            )  # Graham's bound for any greedy schedule
        assert walk.finish_s(graph, rest.__getitem__, (), 9) == critical


def test_finish_does_not_hang_on_the_order_given() -> None:
    edges = {"a": "", "b": "a", "c": "a", "d": "b"}
    found = {
        walk.finish_s(graph_of({key: edges[key] for key in keys}), lambda key: 2.0, ("b",), 2)
        for keys in permutations(edges)
    }
    assert found == {6.0}
