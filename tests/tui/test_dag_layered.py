"""Layers read back to the exact edges that they were drawn from."""

from __future__ import annotations

from random import Random

import pytest

from tests.tui.dag_layer_reader import read_layers
from tests.tui.dag_random import random_graph
from tests.tui.dag_reader import Unreadable
from tui.dag.glyphs import ASCII, UNICODE, DagGlyphs
from tui.dag.graph import Edge, Graph, Node, State
from tui.dag.layered import NODES, Layered, too_large
from tui.drawing.text import width_of


def rows_of(layered: Layered, glyphs: DagGlyphs) -> list[str]:
    return [layered.text(y, glyphs) for y in range(layered.height)]


@pytest.mark.parametrize("part", range(5))
def test_reads_back(part: int) -> None:
    for seed in range(part * 400, part * 400 + 400):
        graph = random_graph(Random(seed), most=40 if seed % 50 == 0 else 12)
        layered = Layered(graph)
        for glyphs in (UNICODE, ASCII):
            rows = rows_of(layered, glyphs)
            try:
                assert read_layers(rows) == set(graph.edges())
            except Exception as error:
                raise AssertionError(f"seed {seed}: {error!r}\n" + "\n".join(rows)) from None


def graph_of(edges: dict[str, str]) -> Graph:
    return Graph(Node(key, tuple(Edge(parent) for parent in parents.split())) for key, parents in edges.items())


def drawn(edges: dict[str, str], glyphs: DagGlyphs = UNICODE, labels: dict[str, str] | None = None) -> list[str]:
    return [row.rstrip() for row in rows_of(Layered(graph_of(edges), labels), glyphs)]


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
        "            ╭──● lint ──→╮",
        "● checkout ─┼──● unit ──→┼──● package ───● deploy",
        "            ├──● build ─→╯",
        "            ╰──● docs",
    ]


def test_a_workflow_in_ascii() -> None:
    rows = drawn(BUILD, ASCII)
    assert rows == [
        "            +--* lint -->+",
        "* checkout -+--* unit -->+--* package ---* deploy",
        "            +--* build ->'",
        "            `--* docs",
    ]
    assert all(row.isascii() for row in rows)


def test_what_would_read_two_ways_is_bent() -> None:
    assert drawn({"n1": "", "n2": "", "n3": "n1 n2", "n4": "n1 n2"}) == [
        "● n1 ───┬─┬──● n3",
        "● n2 ─╮ ╰─┼──● n4",
        "      ╰───╯",
    ]


def test_a_barrier_is_one_trunk() -> None:
    assert drawn({"a": "", "b": "", "c": "", "d": "a b c", "e": "a b c", "f": "a b c"}) == [
        "● a ─→┬──● d",
        "● b ─→┼──● e",
        "● c ─→┴──● f",
    ]
    assert drawn({"a": "", "b": "", "c": "a b"}) == ["● a ─┬──● c", "● b ─╯"]


def test_long_edges_pass_between() -> None:
    assert drawn({"a": "", "b": "a", "c": "b", "d": "c a"}) == [
        "     ╭──● b ───● c ─┬──● d",
        "● a ─┴──────────────╯",
    ]


def test_states_colour_nodes_and_the_lines_of_failed_ones() -> None:
    layered = Layered(graph_of({"a": "", "b": "a", "c": "b"}))
    states = {"a": State.FAILED, "b": State.SKIPPED, "c": State.WAITING}
    assert layered.cell(0, states.__getitem__, UNICODE) == (
        ("✗ ", "bad"), ("a ", "text"), ("───", "bad"), ("↷ ", "dim"), ("b ", "text"), ("───", "track"),
        ("◌ ", "dim"), ("c", "text"),
    )  # fmt: skip


def test_cells_follow_states_and_say_what_the_text_says() -> None:
    for seed in range(60):
        random = Random(seed)
        layered = Layered(random_graph(random))
        for _ in range(3):
            states = {key: random.choice(list(State)) for key in layered.places}
            left, width = random.choice((0, 0, 1, 7)), random.choice((None, 9))
            for glyphs in (UNICODE, ASCII):
                for y in range(layered.height):
                    text = list(layered.text(y, glyphs, left=left, width=width))
                    for key, place in layered.places.items():
                        if place.y == y and 0 <= place.x - left < len(text):
                            text[place.x - left] = glyphs.nodes[states[key]]
                    cell = layered.cell(y, states.__getitem__, glyphs, left=left, width=width)
                    assert "".join(part for part, _ in cell) == "".join(text)


def test_labels_take_cells_and_are_cut() -> None:
    labels = {"a": "数据", "b": "x" * 50}
    layered = Layered(graph_of({"a": "", "b": "a"}), labels)
    row = layered.text(0, UNICODE)
    assert row == "● 数据 ───● " + "x" * 31 + "…"
    assert width_of(row) == layered.width
    for left in range(layered.width + 2):
        for width in range(6):
            assert width_of(layered.text(0, UNICODE, left=left, width=width)) == width


def test_keys_are_data() -> None:
    layered = Layered(graph_of({"\x1b[31ma": "", "b\u202e": "\x1b[31ma"}))
    assert layered.text(0, UNICODE) == "● ^[[31ma ───● b\\u202e"


def test_places_say_where_the_nodes_are() -> None:
    for seed in range(100):
        layered = Layered(random_graph(Random(seed)))
        for key, place in layered.places.items():
            row = layered.text(place.y, UNICODE)
            assert row[place.x : place.x + place.width] == f"● {key}"
            assert place.key == key


def test_what_is_too_large_is_said() -> None:
    chain = Graph(Node(f"n{number}", (Edge(f"n{number - 1}"),) if number else ()) for number in range(NODES + 1))
    assert too_large(chain) == "Layers show at most 200 nodes, not 201; fold some, or stay on the rail."
    with pytest.raises(ValueError, match="at most 200 nodes"):
        Layered(chain)
    full = Graph(Node(f"n{child}", tuple(Edge(f"n{above}") for above in range(child))) for child in range(60))
    assert too_large(full) == "Layers show at most 1,000 edges, not 1,770; fold some, or stay on the rail."
    assert too_large(graph_of(BUILD)) == ""


def test_nothing_to_draw() -> None:
    layered = Layered(Graph([]))
    assert (layered.width, layered.height, layered.places) == (0, 0, {})


@pytest.mark.parametrize(
    "rows",
    [
        ["● n1 ─"],
        ["● n1 ─╮", "● n2 ─┴─● n3 ─│"],
        ["● n1 ─┬─● n3", "      ├─● n4", "● n2 ─┴─● n5"],
        ["● n1 ─╮ ● n3", "● n2 ─╯"],
        ["● n1 ───● n2", "   ╰──"],
        ["● n1 ─→╮", "● n2 ──┴─● n3"],
        ["● n1 ─→╮", "● n2 ──┤", "● n3 ─→┴─● n4"],
        ["● n1 ─→─● n2"],
    ],
)
def test_the_reader_refuses(rows: list[str]) -> None:
    with pytest.raises((Unreadable, AssertionError)):
        read_layers(rows)
