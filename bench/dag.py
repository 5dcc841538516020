"""Folding and laying out a DAG: from its nodes to a rail that can draw any row, and to the rows of one screen."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Sequence
from itertools import count
from random import Random

from tui.dag.collapse import Folds
from tui.dag.glyphs import UNICODE
from tui.dag.graph import Edge, Graph, Node, State
from tui.dag.layered import Layered
from tui.dag.rail import Rail, StateOf
from tui.dag.tally import Tally

ROUNDS = 15
SCREEN = 50


def edges(*keys: str) -> tuple[Edge, ...]:
    return tuple(Edge(key) for key in keys)


def map_reduce(tasks: int) -> list[Node]:
    """A split, six stages of equally many instances, a reduce, and what checks and ships its result."""
    stages = ("fetch", "decode", "clean", "join", "score", "write")
    width = (tasks - 11) // len(stages)
    nodes = [Node("config"), Node("split", edges("config"))]
    before: Sequence[str] = ("split",)
    for stage in stages:
        keys = [f"{stage}[{number}]" for number in range(width)]
        nodes += [
            Node(key, edges(*(before if len(before) == 1 else (before[number],))), stage)
            for number, key in enumerate(keys)
        ]
        before = keys
    nodes.append(Node("reduce", edges(*before)))
    checks = ("counts", "schema", "drift", "sample")
    nodes += [Node(check, edges("reduce")) for check in checks]
    nodes += [
        Node("gate", edges(*checks)), Node("pack", edges("gate")), Node("ship", edges("pack")),
        Node("report", edges("gate", "config")),
    ]  # fmt: skip
    return nodes


def layers(tasks: int, width: int) -> list[Node]:
    """Nothing to fold: each of a layer depends on two of the layer before."""
    random = Random(1)
    return [
        Node(
            f"n{number}",
            edges(*(f"n{random.randrange(number - number % width - width, number - number % width)}" for _ in "ab"))
            if number >= width
            else (),
        )
        for number in range(tasks)
    ]


def measured(name: str, action: Callable[[], object], note: str = "") -> None:
    """Prints median and range of the time that passed, and the median of what of it was CPU time, in ms."""
    walls: list[float] = []
    cpus: list[float] = []
    for _ in range(ROUNDS):
        gc.collect()
        began, began_cpu = time.perf_counter(), time.process_time()
        action()
        walls.append((time.perf_counter() - began) * 1000)
        cpus.append((time.process_time() - began_cpu) * 1000)
    passed = f"{statistics.median(walls):8.2f} ms ({min(walls):.2f}-{max(walls):.2f})"
    print(f"{name:54} {passed:32} CPU {statistics.median(cpus):7.2f} ms  {note}", flush=True)


def screen(rail: Rail, states: StateOf, top: int, left: int) -> None:
    for row in range(top, top + SCREEN):
        rail.cell(row, states, UNICODE, left=left, width=100)


def main() -> None:
    shapes = [("map-reduce", map_reduce(1007)), ("map-reduce", map_reduce(10_007))]
    shapes += [("layers of 10", layers(1000, 10)), ("layers of 10", layers(10_000, 10))]
    shapes += [("layers of 100", layers(10_000, 100))]
    for shape, nodes in shapes:
        graph = Graph(nodes)
        folds = Folds(graph)
        folded = Rail(folds.view(folds.initial()).graph)
        name = f"{len(nodes):,} nodes, {shape}"
        measured(f"{name}: graph", lambda nodes=nodes: Graph(nodes))
        measured(
            f"{name}: fold + rail",
            lambda graph=graph: Rail((f := Folds(graph)).view(f.initial()).graph),
            f"{len(folded):,} rows, {folded.lane_count} lanes",
        )
        full = Rail(graph)
        measured(f"{name}: rail, all open", lambda graph=graph: Rail(graph), f"{full.lane_count:,} lanes")
        states = Tally(folds, dict.fromkeys(graph.keys, State.RUNNING)).state
        middle = len(full) // 2
        lefts = count()
        measured(
            f"{name}: {SCREEN} rows drawn, 100 cells",
            lambda full=full, states=states, middle=middle, lefts=lefts: screen(full, states, middle, next(lefts)),
        )
        measured(
            f"{name}: {SCREEN} rows drawn again",
            lambda full=full, states=states, middle=middle: screen(full, states, middle, 0),
        )
    layered = Graph(layers(200, 10))
    measured("200 nodes, layers of 10: layered", lambda: Layered(layered), f"{layered.edge_count} edges")


if __name__ == "__main__":
    main()
