"""What the points of a score are made of, and the most that each term can have. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import lru_cache

from cortex.v1 import cluster_pb2, types_pb2

TERMS: tuple[tuple[str, str, float], ...] = (
    ("cpu", "CPU", 30.0),
    ("memory", "MEM", 30.0),
    ("disk", "DISK", 15.0),
    ("network", "NET", 10.0),
    ("gpu", "GPU", 15.0),
)
"""Name in ScoreTerms, title, most points by the profile's own weights."""
OTHER_TERMS: tuple[tuple[str, str, float], ...] = (
    ("priority", "PRIO", 50.0),
    ("capability", "CAPAB", 30.0),
    ("load", "LOAD", 15.0),
    ("fairness", "FAIR", 5.0),
)
"""Those of profile orchestrator."""
BESIDE = ("preferred", "tasks", "gaming", "suspect")
"""What is given and taken beside the terms."""


def terms_in(terms: types_pb2.ScoreTerms) -> tuple[tuple[str, str, float], ...]:
    """The terms that a score is made of, by its profile."""
    # Field by field, for each cell of each node asks.
    others = terms.priority or terms.capability or terms.load or terms.fairness
    return OTHER_TERMS if others else TERMS


@lru_cache(maxsize=256)
def most_points(name: str, usual: float, weights: str) -> float:
    """That a term may have by `weights`, as a node or a placement tells them; `usual` where they do not name it."""
    for part in weights.split(","):
        term, _, weight = part.partition("=")
        if term == name and weight.replace(".", "", 1).isdecimal():
            return 100.0 * float(weight)
    return usual


def points_of(most: float) -> str:
    """Most points as they are written: whole where they are."""
    return f"{most:.0f}" if most == round(most) else f"{most:.1f}"


def full_score(terms: types_pb2.ScoreTerms, weights: str, *, gpu: bool = False) -> float:
    """The most that `terms` can sum to; the GPU's counts only where a task asks for one."""
    return _most_of(terms_in(terms), weights, gpu)


@lru_cache(maxsize=64)
def _most_of(named: tuple[tuple[str, str, float], ...], weights: str, gpu: bool) -> float:
    return sum(most_points(name, usual, weights) for name, _, usual in named if gpu or name != "gpu")


def penalty_of(terms: types_pb2.ScoreTerms) -> float:
    """What is taken off, below zero."""
    return terms.tasks + terms.gaming + terms.suspect


def points_text(terms: types_pb2.ScoreTerms, weights: str | None, *, gpu: bool = False) -> str:
    """Every term that counts, of the most that it can have where weights are known; then what is given and taken
    beside.
    """
    parts = []
    for name, _, usual in terms_in(terms):
        points = getattr(terms, name)
        if name != "gpu" or gpu or points:
            of = "" if weights is None else f"/{points_of(most_points(name, usual, weights))}"
            parts.append(f"{name} {points:.1f}{of}")
    beside = ((name, getattr(terms, name)) for name in BESIDE)
    return ", ".join([*parts, *(f"{name} {points:.1f}" for name, points in beside if points)])


def placed(why: cluster_pb2.WhyReply) -> bool:
    """Whether it was judged as its task was placed, and not as of now or of another moment."""
    return bool(why.past and why.task.placement.node and why.index == why.task.fence)


def judged_by(why: cluster_pb2.WhyReply, live: str | None, then: str | None) -> str | None:
    """The weights of its placement, of the moment that was judged (`then`) or of now (`live`); None = not known."""
    if placed(why):
        return why.task.placement.weights
    return then if why.past else live


def weights_in(reply: cluster_pb2.GetSettingsReply) -> str:
    """Those that the settings name; empty = the profile's own."""
    value = next((row.value for row in reply.settings if row.name == "weights"), "")
    found = json.loads(value) if value else ""
    return found if isinstance(found, str) and found != "default" else ""


def weights_of(views: Iterable[cluster_pb2.NodeView]) -> str | None:
    """Those that nodes are scored by now: one leader scores them all. None where none is scored."""
    return next((view.weights for view in views if view.scored), None)
