"""Folding: every way to open and close groups is the same DAG, seen from farther away."""

from __future__ import annotations

import sys
from random import Random
from types import FrameType

import pytest

from bench.dag import layers, map_reduce
from tests.tui import dag_reader
from tests.tui.dag_random import random_graph
from tests.tui.dag_reader import read_rail
from tui.dag.collapse import Folds, Kind, View
from tui.dag.glyphs import ASCII, UNICODE
from tui.dag.graph import Edge, Graph, Node, State
from tui.dag.rail import Rail
from tui.dag.tally import Tally, summary, whole


def graph_of(edges: dict[str, str], template: str = "") -> Graph:
    """Keys like `map[0]` get the template `map`."""
    return Graph(
        Node(key, tuple(Edge(parent) for parent in parents.split()), key.partition("[")[0] if "[" in key else "")
        for key, parents in edges.items()
    )


def titles(view: View) -> list[str]:
    """Of the rows of a rail, from above."""
    shown = []
    for key in Rail(view.graph).keys:
        group = view.group(key)
        shown.append(f"{group.title(UNICODE)} ×{len(group.tasks)}" if group else key)
    return shown


def test_any_folding_is_the_quotient() -> None:
    for seed in range(1500):
        random = Random(seed)
        graph = random_graph(random, most=25)
        folds = Folds(graph)
        ways = [folds.all_folded(), folds.initial(), folds.all_open()]
        ways += [frozenset(key for key in folds.groups if random.random() < 0.5) for _ in range(3)]
        for opened in ways:
            view = folds.view(opened)  # raises if it had a cycle
            tasks = [task for key in view.graph.keys for task in view.tasks(key)]
            assert sorted(tasks) == sorted(graph.keys), seed
            stands_for = {task: key for key in view.graph.keys for task in view.tasks(key)}
            wanted = {(stands_for[above], stands_for[below]) for above, below in graph.edges()}
            assert set(view.graph.edges()) == {(above, below) for above, below in wanted if above != below}, seed
            assert all(view.shown_as(task) == stands_for[task] for task in graph.keys)
        assert view_keys(folds.view(folds.all_open())) == set(graph.keys)


def view_keys(view: View) -> set[str]:
    return set(view.graph.keys)


def test_folded_graphs_read_back_too() -> None:
    for seed in range(300):
        random = Random(seed)
        folds = Folds(random_graph(random, most=25))
        view = folds.view(frozenset(key for key in folds.groups if random.random() < 0.5))
        rail = Rail(view.graph)
        edges = read_rail([rail.text(row, UNICODE) for row in range(len(rail))], dag_reader.UNICODE)
        assert {(rail.keys[above], rail.keys[below]) for above, below in edges} == set(view.graph.edges())


def test_a_large_map_reduce_fits_a_small_screen() -> None:
    folds = Folds(Graph(map_reduce(1007)))
    assert titles(folds.view(folds.all_folded())) == [
        "config", "split", "fetch[*] ×166", "decode[*] ×166", "clean[*] ×166", "join[*] ×166", "score[*] ×166",
        "write[*] ×166", "reduce", "counts, schema, … ×4", "gate", "report", "pack", "ship",
    ]  # fmt: skip
    assert len(folds.view(folds.initial()).graph) == 17
    assert len(folds.view(folds.initial(rows=15)).graph) == 14


def test_chains_and_twins() -> None:
    branches = {f"{step}{branch}": f"{above}{branch}" for branch in "abc" for above, step in ("12", "23")}
    graph = graph_of({"0": "", **{f"1{branch}": "0" for branch in "abc"}, **branches, "4": "3a 3b 3c"})
    folds = Folds(graph)
    kinds = [group.kind for group in folds.groups.values()]
    assert kinds == [Kind.CHAIN, Kind.CHAIN, Kind.CHAIN, Kind.TWINS]
    assert folds.initial() == folds.all_open()
    view = folds.view(folds.all_folded())
    assert len(view.graph) == 3
    twins = next(key for key in view.graph.keys if view.group(key))
    assert twins == "twins:1a"
    opened = folds.opening(folds.all_folded(), twins)
    assert titles(folds.view(opened)) == ["0", "1a → 3a ×3", "1b → 3b ×3", "1c → 3c ×3", "4"]
    opened = folds.opening(opened, "chain:1b")
    assert titles(folds.view(opened)) == ["0", "1a → 3a ×3", "1c → 3c ×3", "1b", "2b", "3b", "4"]
    assert folds.view(folds.folding(opened, "2b")).shown_as("2b") == "chain:1b"
    assert folds.folding(folds.folding(opened, "2b"), "chain:1b") == folds.all_folded()
    assert folds.around("2b") == ("chain:1b", "twins:1a")


def test_a_task_that_is_folded_away_can_be_revealed() -> None:
    for seed in range(200):
        random = Random(seed)
        graph = random_graph(random, most=25)
        folds = Folds(graph)
        task = random.choice(graph.keys)
        before = folds.initial()
        opened = folds.revealing(before, task)
        assert folds.view(opened).shown_as(task) == task
        assert opened >= before
        assert opened - before <= set(folds.around(task))


def test_groups_that_a_cycle_would_join_stay_apart() -> None:
    graph = graph_of(
        {"a[0]": "", "a[1]": "", "a[2]": "", "b[0]": "a[0]", "b[1]": "", "b[2]": "", "a[3]": "b[1]", "a[4]": "b[2]"}
    )
    folds = Folds(graph)
    assert {group.tasks for group in folds.groups.values()} == {("a[0]", "a[1]", "a[2]")}


def test_what_opens_where_a_group_was() -> None:
    """Opening a group leaves the other rows of a map-reduce in their order."""
    folds = Folds(Graph(map_reduce(131)))
    opened = folds.initial()
    rows = list(Rail(folds.view(opened).graph).keys)
    for key in [key for key in rows if key in folds.groups]:
        now = Rail(folds.view(folds.opening(opened, key)).graph).keys
        assert [row for row in now if row in rows] == [row for row in rows if row != key]
        inside = [at for at, row in enumerate(now) if row not in rows]
        assert inside == list(range(rows.index(key), rows.index(key) + len(folds.groups[key].tasks)))


def test_titles() -> None:
    graph = graph_of({"x": "", "lint-a": "x", "lint-b": "x", "lint-c": "x"})
    assert titles(Folds(graph).view(frozenset())) == ["x", "lint-* ×3"]
    graph = graph_of({"x": "", "lint": "x", "unit": "x", "docs": "x"})
    group = next(iter(Folds(graph).groups.values()))
    assert (group.title(UNICODE), group.title(ASCII)) == ("lint, unit, …", "lint, unit, ~")


def test_triggers_that_agree_are_kept() -> None:
    nodes = [Node("x")] + [Node(f"m[{n}]", (Edge("x", "failure"),), "m") for n in range(3)]
    nodes.append(Node("y", tuple(Edge(f"m[{n}]", "failure" if n else "") for n in range(3))))
    view = Folds(Graph(nodes)).view(frozenset())
    assert view.graph.trigger("x", "template:m:1") == "failure"
    assert view.graph.trigger("template:m:1", "y") == ""


# Counts.


def test_counts_follow_every_change() -> None:
    for seed in range(100):
        random = Random(seed)
        folds = Folds(random_graph(random, most=25))
        tally = Tally(folds)
        states = dict.fromkeys(folds.graph.keys, State.WAITING)
        for _ in range(60):
            task, state = random.choice(folds.graph.keys), random.choice(list(State))
            assert tally.put(task, state) == (states[task] is not state)
            states[task] = state
        for key, group in folds.groups.items():
            inside = [states[task] for task in group.tasks]
            assert {state: count for state, count in tally.counts(key).items() if count} == {
                state: inside.count(state) for state in set(inside)
            }
            assert (tally.state(key) is State.FAILED) == (State.FAILED in inside)
        assert tally.total.total() == len(folds.graph)
    assert not tally.put("nobody", State.DONE)


@pytest.mark.parametrize(
    ("states", "state"),
    [
        ({State.DONE: 5, State.FAILED: 1, State.RUNNING: 3}, State.FAILED),
        ({State.DONE: 5, State.RUNNING: 1}, State.RUNNING),
        ({State.DONE: 5, State.WAITING: 1}, State.WAITING),
        ({State.DONE: 5, State.READY: 1, State.WAITING: 1}, State.READY),
        ({State.READY: 5, State.WAITING: 1}, State.READY),
        ({State.WAITING: 2, State.DONE: 0}, State.WAITING),
        ({State.DONE: 2, State.SKIPPED: 3}, State.DONE),
        ({State.SKIPPED: 3}, State.SKIPPED),
        ({State.CANCELLED: 3, State.SKIPPED: 3}, State.SKIPPED),
        ({}, State.WAITING),
    ],
)
def test_state_of_a_group(states: dict[State, int], state: State) -> None:
    assert whole(states) is state


def test_summary_of_a_group() -> None:
    folds = Folds(graph_of({f"map[{number}]": "" for number in range(166)}))
    group = folds.groups["template:map:0"]
    counts = {State.DONE: 150, State.RUNNING: 12, State.FAILED: 4}
    text = "".join(part for part, _ in summary(group, counts, UNICODE))
    assert text == "×166 ████▌ 150✓ 12▸ 4✗"
    assert (" 4✗", "bad") in summary(group, counts, UNICODE)
    text = "".join(part for part, _ in summary(group, counts, ASCII))
    assert text == "x166 ####= 150+ 12> 4x"
    assert "".join(part for part, _ in summary(group, {State.WAITING: 166}, ASCII)) == "x166 ....."
    almost = {State.DONE: 165, State.RUNNING: 1}
    assert "".join(part for part, _ in summary(group, almost, UNICODE)) == "×166 ████▌ 165✓ 1▸"


# Cost, counted in calls: the same on every machine.


def calls_of_layout(nodes: list[Node]) -> int:
    count = 0

    def counted(frame: FrameType, event: str, arg: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    graph = Graph(nodes)
    before = sys.getprofile()
    sys.setprofile(counted)
    try:
        folds = Folds(graph)
        Rail(folds.view(folds.initial()).graph)
        Rail(graph)
    finally:
        sys.setprofile(before)
    return count


def test_layout_costs_what_the_graph_has_of_nodes_and_edges() -> None:
    for shape in (map_reduce, lambda count: layers(count, 10)):
        small, large = calls_of_layout(shape(500)), calls_of_layout(shape(2000))
        assert large < 5 * small
        assert large < 150 * 2000


def test_a_row_asks_only_for_states_that_it_shows() -> None:
    folds = Folds(Graph(map_reduce(1007)))
    rail = Rail(folds.graph)
    asked: list[str] = []

    def state_of(key: str) -> State:
        asked.append(key)
        return State.RUNNING

    rail.cell(700, state_of, UNICODE, width=40)
    assert len(asked) <= 21
    assert len(set(asked)) == len(asked)
