"""The nodes table: live score and its terms, resources, load."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from cortex.v1 import cluster_pb2, types_pb2
from tui.columns.base import Column, Draw, TableSpec
from tui.drawing.draw import (
    EMPTY,
    NODE_WORDS,
    Cell,
    age,
    averaged,
    bar,
    bytes_of,
    foreign,
    node_state,
    sparkline,
    stacked,
)
from tui.drawing.text import clean, fit
from tui.lists.filter import Field
from tui.store.nodes import HISTORY_SAMPLES, NodeRow
from tui.store.score import TERMS, full_score, most_points, penalty_of, points_of, terms_in
from tui.store.silence import silence_us

ROLES: Mapping[int, str] = {types_pb2.NODE_ROLE_VOTER: "voter", types_pb2.NODE_ROLE_LEARNER: "learner"}
UNKNOWN = -1e9
_NONE = cluster_pb2.NodeView()
_TERM_ROLES = tuple(f"term-{name}" for name, _, _ in TERMS)
FRESH_SAMPLE_US = 3_000_000
OLD_SAMPLE_US = 5_000_000
DEFAULT_LINK_BITS_PER_S = 1e9


def _scored(draw: Draw) -> cluster_pb2.NodeView:
    """A node with a score: one leader scores them all. An empty one where none has."""
    views = (row.view for row in draw.view.nodes.values() if row.view is not None)
    return next((view for view in views if view.scored), _NONE)


def _score(row: NodeRow) -> float | None:
    return row.view.score if row.view is not None and row.view.scored else None


def cpu_percent(row: NodeRow) -> float | None:
    return sampled.cpu_percent if (sampled := row.resources) is not None else None


def memory_percent(row: NodeRow) -> float | None:
    sampled = row.resources
    if sampled is None or sampled.memory_total_bytes <= 0:
        return None
    return 100 * (1 - sampled.memory_available_bytes / sampled.memory_total_bytes)


def _disk(row: NodeRow) -> float | None:
    sampled = row.resources
    if sampled is None or sampled.disk_total_bytes <= 0:
        return None
    return 100 * (1 - sampled.disk_free_bytes / sampled.disk_total_bytes)


def _io(row: NodeRow) -> float | None:
    sampled = row.resources
    return sampled.disk_io_percent if sampled is not None and not row.node.kind else None


def _heat(row: NodeRow) -> float | None:
    sampled = row.resources
    return sampled.temperature_celsius if sampled is not None and sampled.HasField("temperature_celsius") else None


def _pressure(row: NodeRow) -> float | None:
    """Share of the last 10 s in which something waited for cores, memory or a disk, whichever is most."""
    sampled = row.resources
    if sampled is None or not sampled.HasField("cpu_pressure_percent"):
        return None
    return max(sampled.cpu_pressure_percent, sampled.memory_pressure_percent, sampled.io_pressure_percent)


def _rate(row: NodeRow) -> float | None:
    sampled = row.resources
    if sampled is None or row.node.kind:
        return None
    return max(sampled.rx_bytes_per_s, sampled.tx_bytes_per_s)


def gpu_percent(row: NodeRow) -> float | None:
    if (sampled := row.resources) is None or not (gpus := sampled.gpus):
        return None
    return min(gpu.utilisation_percent for gpu in gpus)


def _running(row: NodeRow) -> int:
    return row.view.running if row.view is not None else 0


def _assigned(row: NodeRow) -> int:
    return row.view.assigned if row.view is not None else 0


def sample_age_us(row: NodeRow, now_s: float) -> int | None:
    """How old the shown sample is; None when there never was one."""
    if row.view is None or row.view.age_us < 0 or row.resources is None:
        return None
    return row.view.age_us + int((now_s - row.received_s) * 1e6)


def sample_age(old_us: int) -> str:
    """Samples come every second: an age below three is no news, and would be repainted for nothing."""
    return "now" if old_us < FRESH_SAMPLE_US else age(old_us)


def ageing(row: NodeRow, draw: Draw) -> object:
    """How time shows in a row: samples that are missing, the age of the last one, silence."""
    old_us = sample_age_us(row, draw.now_s)
    missed = int(draw.now_s - row.received_s) - 1 if row.received_s else 0
    if missed <= 0 and (old_us is None or old_us < FRESH_SAMPLE_US):
        return 0
    return missed, old_us // 1_000_000 if old_us is not None else -1, bool(silence_us(draw.view, row, draw.now_s))


def role_of(row: NodeRow) -> str:
    return row.node.kind or ROLES.get(row.node.role, "worker")


def _draw_role(row: NodeRow, _draw: Draw, width: int) -> Cell:
    word = role_of(row)
    return ((word if len(word) <= width else "learns", "warn" if word == "learner" else "dim"),)


def state_word(row: NodeRow) -> str:
    if not row.node.online and row.node.state == types_pb2.NODE_STATE_ACTIVE:
        return "offline"
    return NODE_WORDS.get(row.node.state, ("unknown", "", ""))[0]


def state_cell(row: NodeRow, draw: Draw, width: int) -> Cell:
    """Glyph and word; an active node that is not heard says so at once, long before the cluster counts it out."""
    unheard_us = silence_us(draw.view, row, draw.now_s)
    state = node_state(row.node, draw.glyphs)
    if not unheard_us:
        return state if _judged(row, draw) else ((f"? {state_word(row)}", "dim"),)
    if row.node.state != types_pb2.NODE_STATE_ACTIVE:
        return tuple((text, "warn") for text, _ in state)
    said = f"silent {age(unheard_us)}"
    with_glyph = f"? {said}"
    return ((with_glyph if len(with_glyph) <= width else said, "warn"),)


def _judged(row: NodeRow, draw: Draw) -> bool:
    """Whether a state is known, not only as it was: without a leader nobody looks whether a node is there."""
    old_us = sample_age_us(row, draw.now_s)
    return bool(draw.view.leader) or draw.view.past or old_us is None or old_us < OLD_SAMPLE_US


def level_role(percent: float) -> str:
    """Calm below 70, warning from there, alarm from 90."""
    return "bad" if percent >= 90 else "warn" if percent >= 70 else "text"


def _percent(get: Callable[[NodeRow], float | None]) -> Callable[[NodeRow, Draw, int], Cell]:
    def draw(row: NodeRow, draw: Draw, _width: int) -> Cell:
        value = get(row)
        if value is None:
            return ((draw.glyphs.none, "dim"),)
        return ((f"{value:.0f}%", level_role(value)),)

    return draw


def _draw_name(row: NodeRow, draw: Draw, width: int) -> Cell:
    name = fit(clean(row.node.id, ascii_only=draw.glyphs.ascii_only), width - 2, ellipsis=draw.glyphs.ellipsis)
    view = draw.view
    # The stream tells a new leader before any row does.
    leads = row.node.id == view.leader if view.leader and not view.past else row.leader
    mark = (f"{draw.glyphs.leader} ", "accent") if leads else ("  ", "text")
    return (mark, (name, "strong" if row.node.online else "dim"))


def _draw_score(row: NodeRow, draw: Draw, _width: int) -> Cell:
    score = _score(row)
    return ((draw.glyphs.none, "dim"),) if score is None else ((f"{score:.1f}", "strong"),)


def _draw_score_bar(row: NodeRow, draw: Draw, width: int) -> Cell:
    if row.view is None or not row.view.scored:
        return ((draw.glyphs.bar_rest * width, "track"),)
    terms = row.view.terms
    values = [max(0.0, getattr(terms, name)) for name, _, _ in terms_in(terms)]
    # Penalties take away from the end, so the line is as long as the score.
    earned = sum(values)
    left = max(0.0, earned + penalty_of(terms))
    shorter = left / earned if earned > 0 else 0.0
    shown = [(value * shorter, role) for value, role in zip(values, _TERM_ROLES, strict=False)]
    return stacked(shown, max(full_score(terms, row.view.weights), left), width, draw.glyphs)


def _term(at: int) -> Callable[[NodeRow, Draw, int], Cell]:
    """The term of that number, of those that the node's score is made of."""

    def draw(row: NodeRow, draw: Draw, width: int) -> Cell:
        if row.view is None or not row.view.scored:
            return ((draw.glyphs.none, "dim"),)
        terms = row.view.terms
        if at >= len(named := terms_in(terms)):
            return EMPTY
        name, _, most = named[at]
        value, full = float(getattr(terms, name)), most_points(name, most, row.view.weights)
        return ((f"{value:4.1f} ", "text"), *bar(value, full, width - 5, _TERM_ROLES[at], draw.glyphs))

    return draw


def _term_title(at: int) -> Callable[[Draw], str]:
    def heading(draw: Draw) -> str:
        view = _scored(draw)
        if at >= len(named := terms_in(view.terms)):
            return ""
        name, title, most = named[at]
        return f"{title}/{points_of(most_points(name, most, view.weights))}"

    return heading


def _draw_penalty(row: NodeRow, draw: Draw, _width: int) -> Cell:
    if row.view is None or not row.view.scored:
        return ((draw.glyphs.none, "dim"),)
    penalty = penalty_of(row.view.terms)
    return ((f"{penalty:.0f}", "warn" if penalty < 0 else "dim"),)


def _draw_rate(row: NodeRow, draw: Draw, _width: int) -> Cell:
    rate = _rate(row)
    if rate is None:
        return ((draw.glyphs.none, "dim"),)
    link = (row.resources.link_bits_per_s if row.resources else 0) or DEFAULT_LINK_BITS_PER_S
    return ((bytes_of(rate), level_role(800 * rate / link)),)


def _draw_load(row: NodeRow, _draw: Draw, _width: int) -> Cell:
    running, waiting = _running(row), _assigned(row)
    return ((f"{running}", "busy" if running else "dim"), (f"+{waiting}", "wait" if waiting else "dim"))


def _draw_age(row: NodeRow, draw: Draw, _width: int) -> Cell:
    old = sample_age_us(row, draw.now_s)
    if old is None:
        return ((draw.glyphs.none, "dim"),)
    return ((sample_age(old), "dim" if old < OLD_SAMPLE_US else "warn"),)


def _draw_history(row: NodeRow, draw: Draw, width: int) -> Cell:
    gaps = int(draw.now_s - row.received_s) if row.received_s else 0
    missed = max(0, min(HISTORY_SAMPLES, gaps - 1))
    span = -(-HISTORY_SAMPLES // max(1, width))
    cells = averaged((*row.history, *([None] * missed)), row.seconds + missed, span)
    return ((sparkline(cells, 100.0, width, draw.glyphs), "term-cpu"),)


def _draw_address(row: NodeRow, draw: Draw, _width: int) -> Cell:
    return foreign(row.node.address, "dim", draw.glyphs) if row.node.address else EMPTY


def _number(get: Callable[[NodeRow], float | None]) -> Callable[[NodeRow], float]:
    def key(row: NodeRow) -> float:
        value = get(row)
        return UNKNOWN if value is None else value

    return key


def _term_points(at: int) -> Callable[[NodeRow], float]:
    def points(row: NodeRow) -> float:
        named = terms_in(row.view.terms) if row.view is not None else ()
        return float(getattr(row.view.terms, named[at][0])) if row.view is not None and at < len(named) else UNKNOWN

    return points


def _columns() -> tuple[Column[NodeRow], ...]:
    usage: tuple[tuple[str, str, int, Callable[[NodeRow], float | None], int], ...] = (
        ("cpu", "CPU", 4, cpu_percent, 0),
        ("mem", "MEM", 4, memory_percent, 0),
        ("disk", "DISK", 4, _disk, 0),
        ("io", "IO", 4, _io, 6),
    )
    return (
        Column("node", "  NODE", 10, _draw_name, lambda row: row.node.id, flex=2, most=26),
        Column("state", "STATE", 10, state_cell, state_word),
        Column("role", "ROLE", 6, _draw_role, role_of),
        Column("score", "SCORE", 5, _draw_score, _number(_score), True, "right"),
        Column("bar", "", 5, _draw_score_bar, flex=2, most=24, picture=True),
        *(
            Column(name, title, width, _percent(get), _number(get), True, "right", rank=rank)
            for name, title, width, get, rank in usage
        ),
        Column("net", "NET/S", 5, _draw_rate, _number(_rate), True, "right"),
        Column("gpu", "GPU", 4, _percent(gpu_percent), _number(gpu_percent), True, "right"),
        Column("run", "RUN", 5, _draw_load, lambda row: _running(row) + _assigned(row), True, "right"),
        Column("age", "AGE", 4, _draw_age, lambda row: -row.received_s, False, "right"),
        Column("history", "CPU 60 S", 12, _draw_history, rank=10, flex=2, most=60, picture=True),
        *(
            Column(
                f"term_{name}",
                f"{title}/{most:.0f}",
                10,
                _term(at),
                _term_points(at),
                True,
                rank=12 + at,
                flex=1,
                most=16,
                heading=_term_title(at),
            )
            for at, (name, title, most) in enumerate(TERMS)
        ),
        Column("penalty", "PEN", 4, _draw_penalty, None, align="right", rank=11),
        Column("address", "ADDRESS", 15, _draw_address, lambda row: row.node.address, rank=20, flex=1, most=22),
    )


def _labels(row: NodeRow) -> str:
    return " ".join(f"{label.key}={label.value}" if label.value else label.key for label in row.node.labels)


NODES: TableSpec[NodeRow] = TableSpec(
    columns=_columns(),
    sort="node",
    fields=(
        Field("node", lambda row: row.node.id),
        Field("name", lambda row: row.node.hostname),
        Field("state", state_word, words={"offline", *(word for word, _, _ in NODE_WORDS.values())}),
        Field("role", role_of),
        Field("label", _labels),
        Field("leader", lambda row: "yes" if row.leader else "no"),
        Field("score", _score, numeric=True),
        Field("cpu", cpu_percent, numeric=True),
        Field("mem", memory_percent, numeric=True),
        Field("disk", _disk, numeric=True),
        Field("io", _io, numeric=True),
        Field("net", _rate, numeric=True),
        Field("gpu", gpu_percent, numeric=True),
        Field("heat", _heat, numeric=True),
        Field("pressure", _pressure, numeric=True),
        Field("running", lambda row: float(_running(row)), numeric=True),
        Field("assigned", lambda row: float(_assigned(row)), numeric=True),
    ),
    empty="No node has joined yet.",
    around=lambda draw: (draw.view.leader, draw.view.past),
    ageing=ageing,
)
