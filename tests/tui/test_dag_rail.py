"""The rail reads back to the exact edges that it was drawn from."""

from __future__ import annotations

from random import Random

import pytest

from tests.tui import dag_reader
from tests.tui.dag_random import random_graph
from tests.tui.dag_reader import Signs, Unreadable, read_rail
from tui.dag.glyphs import ASCII, UNICODE, DagGlyphs
from tui.dag.graph import Edge, Graph, Node, State
from tui.dag.rail import Rail

SETS = [(UNICODE, dag_reader.UNICODE), (ASCII, dag_reader.ASCII)]


def rows_of(rail: Rail, glyphs: DagGlyphs) -> list[str]:
    return [rail.text(row, glyphs) for row in range(len(rail))]


def edges_read(rail: Rail, rows: list[str], signs: Signs) -> set[tuple[str, str]]:
    return {(rail.keys[parent], rail.keys[child]) for parent, child in read_rail(rows, signs)}


@pytest.mark.parametrize("part", range(10))
def test_reads_back(part: int) -> None:
    for seed in range(part * 1000, part * 1000 + 1000):
        random = Random(seed)
        graph = random_graph(random, most=60 if seed % 50 == 0 else 12)
        rail = Rail(graph)
        assert sorted(rail.keys) == sorted(graph.keys)
        for glyphs, signs in SETS:
            rows = rows_of(rail, glyphs)
            assert edges_read(rail, rows, signs) == set(graph.edges()), f"seed {seed}:\n" + "\n".join(rows)


@pytest.mark.parametrize("seed", range(4))
def test_large_ones_read_back(seed: int) -> None:
    graph = random_graph(Random(f"large {seed}"), most=300)
    rail = Rail(graph)
    for glyphs, signs in SETS:
        assert edges_read(rail, rows_of(rail, glyphs), signs) == set(graph.edges())


def test_states_do_not_hide_lines() -> None:
    """With the glyphs of states for nodes, and a group among them, the same edges are read."""
    for seed in range(300):
        random = Random(seed)
        graph = random_graph(random)
        rail = Rail(graph)
        states = {key: random.choice(list(State)) for key in graph.keys}
        for glyphs, signs in SETS:
            rows = []
            for row, key in enumerate(rail.keys):
                cell = rail.cell(row, states.__getitem__, glyphs, group=random.random() < 0.2)
                rows.append("".join(text for text, _ in cell))
                assert states[key] is not State.FAILED or "bad" in {role for _, role in cell}
            assert edges_read(rail, rows, signs) == set(graph.edges()), seed


def test_every_sign_matters() -> None:
    """A drawing with one sign of a lane or line changed never reads as the same edges: nothing is decoration."""
    same = 0
    for seed in range(150):
        rail = Rail(random_graph(Random(seed), most=8))
        for glyphs, signs in SETS:
            rows = rows_of(rail, glyphs)
            edges = read_rail(rows, signs)
            for number, row in enumerate(rows):
                for x in range(len(row)):
                    if row[x] == " " or (x % 2 == 0 and row[x] in signs.nodes):
                        continue
                    for other in {signs.lane, signs.goes_on[-1], signs.ends[-1], signs.begins[-1], signs.line, " "}:
                        if kind(other, signs) == kind(row[x], signs) or (x % 2 and other not in " " + signs.line):
                            continue
                        changed = [*rows]
                        changed[number] = row[:x] + other + row[x + 1 :]
                        try:
                            same += read_rail(changed, signs) == edges
                        except Unreadable:
                            continue
    assert same == 0


def kind(char: str, signs: Signs) -> int:
    kinds = (signs.goes_on, signs.begins, signs.ends, signs.lane, signs.line)
    return next((at for at, chars in enumerate(kinds) if char in chars), -1)


@pytest.mark.parametrize(
    "rows",
    [
        ["●─●"],
        ["●  ", "  ●", "│  "],
        ["●  ", "  ●", "├─●", "  ●"],
        ["●  ", "│ ●", "├─●"],
        ["├─●"],
        ["●   ", "│─●"],
        ["●→┤", "  ●"],
        ["●→╯"],
        ["●→ ", "  ●"],
        ["●→╮", "●→╮", "  ●"],
        ["●→╮", "●─╮", "  ●"],
        ["●→╮  ", "●─┤  ", "●→┤  ", "  ●  "],
        ["●→╮", "→ ●"],
    ],
)
def test_the_reader_refuses(rows: list[str]) -> None:
    with pytest.raises(Unreadable):
        read_rail(rows, dag_reader.UNICODE)


def drawn(edges: dict[str, str], glyphs: DagGlyphs = UNICODE) -> list[str]:
    graph = Graph(Node(key, tuple(Edge(parent) for parent in parents.split())) for key, parents in edges.items())
    rail = Rail(graph)
    return [f"{rail.text(row, glyphs)} {key}".rstrip() for row, key in enumerate(rail.keys)]


BUILD = {
    "checkout": "",
    "lint": "checkout",
    "unit": "checkout",
    "build": "checkout",
    "package": "lint unit build",
    "docs": "checkout",
    "deploy": "package",
}


def test_a_workflow() -> None:
    assert drawn(BUILD) == [
        "●     checkout",
        "├─●   docs",
        "├─●→╮ lint",
        "├─●→┤ unit",
        "●──→┤ build",
        "    ● package",
        "    ● deploy",
    ]


def test_a_workflow_in_ascii() -> None:
    assert drawn(BUILD, ASCII) == [
        "*     checkout",
        "+-*   docs",
        "+-*>+ lint",
        "+-*>+ unit",
        "*-->+ build",
        "    * package",
        "    * deploy",
    ]


def test_a_root_starts_in_another_lane_than_the_sink_above() -> None:
    assert drawn({"a": "", "b": "a", "c": "", "d": ""}) == ["●   c", "  ● d", "●   a", "●   b"]


def test_a_chain_with_a_shortcut_shows_both_edges() -> None:
    assert drawn({"a": "", "b": "a", "c": "a b", "d": "c"}) == ["●   a", "├─● b", "●─╯ c", "●   d"]
    wide = drawn({"a": "", "b": "a", "c": "a b", "d": "c", "e": "a d"})
    assert wide == ["●     a", "├─●   b", "├─┴─● c", "│   ● d", "●───╯ e"]


def test_independent_joins_do_not_mix() -> None:
    nodes = [Node(f"in{join}{number}") for number in range(4) for join in "ab"]
    nodes += [Node(f"out{join}", tuple(Edge(f"in{join}{number}") for number in range(4))) for join in "ab"]
    keys = Rail(Graph(nodes)).keys
    assert [key[-2] if key.startswith("in") else key for key in keys] == [*"aaaa", "outa", *"bbbb", "outb"]


def test_a_barrier_costs_a_joint_per_task() -> None:
    """20 tasks, each needed by each of 20 others, are two lanes; one lane each would be 20."""
    nodes = [Node(f"a{number}") for number in range(20)]
    nodes += [Node(f"b{number}", tuple(Edge(f"a{above}") for above in range(20))) for number in range(20)]
    rail = Rail(Graph(nodes))
    assert rail.lane_count == 2
    assert edges_read(rail, rows_of(rail, UNICODE), dag_reader.UNICODE) == set(rail.graph.edges())


def test_lanes_are_shared_from_three_sources_on() -> None:
    assert drawn({"a": "", "b": "", "c": "a b"}) == ["●   a", "│ ● b", "●─╯ c"]
    assert drawn({"a": "", "b": "", "c": "", "d": "a b c"}) == ["●→╮ a", "●→┤ b", "●→┤ c", "  ● d"]


def test_fans_and_chains_need_few_lanes() -> None:
    chain = Graph(Node(f"n{number}", (Edge(f"n{number - 1}"),) if number else ()) for number in range(200))
    assert Rail(chain).lane_count == 1
    fan = Graph(Node(f"n{number}", (Edge("n0"),) if number else ()) for number in range(200))
    assert Rail(fan).lane_count == 2


def test_a_window_is_a_part_of_the_row() -> None:
    for seed in range(200):
        random = Random(seed)
        rail = Rail(random_graph(random, most=25))
        for row in range(len(rail)):
            whole = rail.text(row, UNICODE)
            left, width = random.randint(0, rail.width + 3), random.randint(0, 10)
            assert len(whole) == rail.width
            assert rail.text(row, UNICODE, left=left, width=width) == whole[left : left + width].ljust(width)


def test_cells_follow_states_and_say_what_the_text_says() -> None:
    for seed in range(60):
        random = Random(seed)
        rail = Rail(random_graph(random, most=20))
        for _ in range(4):
            states = {key: random.choice(list(State)) for key in rail.keys}
            left, width = random.choice((0, 0, 1, 3)), random.choice((None, 5))
            for glyphs, _ in SETS:
                for row, key in enumerate(rail.keys):
                    text = list(rail.text(row, glyphs, left=left, width=width))
                    at = rail.lane(row) * 2 - left
                    if 0 <= at < len(text):
                        text[at] = glyphs.nodes[states[key]]
                    cell = rail.cell(row, states.__getitem__, glyphs, left=left, width=width)
                    assert "".join(part for part, _ in cell) == "".join(text)


def test_lanes_of_a_failed_source_can_be_followed() -> None:
    graph = Graph([Node("a"), Node("b", (Edge("a"),)), Node("x"), Node("c", (Edge("a"), Edge("x")))])
    rail = Rail(graph)
    states = {"a": State.FAILED, "b": State.WAITING, "x": State.DONE, "c": State.SKIPPED}
    assert [rail.cell(row, states.__getitem__, UNICODE) for row in range(4)] == [
        (("✗    ", "bad"),),
        (("├", "bad"), ("─", "track"), ("◌  ", "dim")),
        (("│   ", "bad"), ("●", "ok")),
        (("↷", "dim"), ("───╯", "track")),
    ]


def test_a_shared_lane_is_as_bad_as_its_worst_source() -> None:
    rail = Rail(Graph([*map(Node, "abc"), Node("d", tuple(map(Edge, "abc")))]))
    states = dict(zip("abcd", (State.DONE, State.FAILED, State.RUNNING, State.SKIPPED), strict=True))
    assert [rail.cell(row, states.__getitem__, UNICODE) for row in range(4)] == [
        (("●", "ok"), ("→╮", "track")),
        (("✗→┤", "bad"),),
        (("▸→┤", "busy"),),
        (("  ", "track"), ("↷", "dim")),
    ]


def test_nothing_to_draw() -> None:
    rail = Rail(Graph([]))
    assert (len(rail), rail.width, rail.lane_count) == (0, 0, 0)
