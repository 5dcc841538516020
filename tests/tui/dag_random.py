"""Random DAGs of many shapes, the same for the same seed."""

from __future__ import annotations

from random import Random

from tui.dag.graph import Edge, Graph, Node


def random_graph(random: Random, most: int = 12) -> Graph:
    """Keys `n0`, `n1`, …; parents have any numbers, not only lower ones. Some nodes have a template."""
    count = random.randint(1, most)
    shape = random.choice((sparse, dense, layers, chains, fans))
    parents = shape(random, count)
    names = list(range(count))
    if random.random() < 0.5:
        random.shuffle(names)
    templates = [random.choice(("", "", "a", "b", "c")) for _ in range(count)]
    nodes = [
        Node(f"n{names[number]}", tuple(Edge(f"n{names[parent]}") for parent in above), templates[number])
        for number, above in enumerate(parents)
    ]
    if random.random() < 0.5:
        random.shuffle(nodes)
    return Graph(nodes)


Parents = list[list[int]]


def sparse(random: Random, count: int) -> Parents:
    return [[p for p in range(child) if random.random() < 1.5 / count] for child in range(count)]


def dense(random: Random, count: int) -> Parents:
    return [[p for p in range(child) if random.random() < 0.5] for child in range(count)]


def layers(random: Random, count: int) -> Parents:
    """Each depends on some of the layer before, now and then on an earlier one."""
    width = random.randint(1, 4)
    parents: Parents = []
    for child in range(count):
        first = child - child % width
        parents.append([p for p in range(first) if random.random() < (0.6 if p >= first - width else 0.1)])
    return parents


def chains(random: Random, count: int) -> Parents:
    return [[child - 1] if child and random.random() < 0.8 else [] for child in range(count)]


def fans(random: Random, count: int) -> Parents:
    """A source, what it feeds, and a join of most of them."""
    join = random.randint(1, count)
    first = [[0] if 0 < child < join else [] for child in range(count)]
    for child in range(join, count):
        first[child] = sorted({p for p in range(child) if random.random() < 0.7})
    return first
