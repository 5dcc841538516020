"""The lines around every view: top bar, banner and footer. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

from cortex.v1 import types_pb2
from tui.columns.base import Draw
from tui.drawing.draw import Cell, Span, age, cell_width, count_of, foreign
from tui.drawing.text import clean, fit, width_of
from tui.keyboard.keymap import key_of, keys_at
from tui.keyboard.keymap import shown as shown_key
from tui.keyboard.keys import Key
from tui.keyboard.keytable import KEYMAP
from tui.store.silence import silent
from tui.store.view import ClusterView

VIEWS: tuple[tuple[str, str, str], ...] = (
    ("nodes", "nodes", "Nodes"),
    ("queue", "queue", "Queue"),
    ("workflows", "workflows", "Workflows"),
    ("letters", "dead_letters", "Dead letters"),
    ("events", "events", "Events"),
)
"""Place, name of the action that goes there, title."""
SHORT_TITLES = {"workflows": "Flows", "letters": "Dead"}
"""Of views, where there is little room."""
PAST_KEYS = frozenset({"earlier", "later", "past_ask", "past_differences"})
"""Names of the actions that the footer offers while a past moment is shown."""


_SOCKET = re.compile(r"unix:\S*/([^/\s]+)/cortex\.sock")
"""Of a daemon on this machine; its folder is named as the node."""
_NO_ANSWER = re.compile(r"^No daemon answers at (\S+): .*\.$")


def title_line(
    name: str, draw: Draw, *, read_only: bool, width: int, moment: str = "", role: str = "strong", notes: Cell = ()
) -> Cell:
    """Which cluster, drawn in `role`, who leads, how far, and whether word comes; or which past `moment` of it is
    shown. `notes` stand before the state of the link.
    """
    view, glyphs = draw.view, draw.glyphs
    shown = clean(name, ascii_only=glyphs.ascii_only)
    # The moment is never cut while there is something of the name to cut.
    most = max(8, width - width_of(moment) - (33 if read_only else 22)) if moment else max(8, width // 2)
    shown = fit(shown, min(width_of(shown), most), ellipsis=glyphs.ellipsis)
    left: list[Span] = [(" cortex ", "accent"), (shown, role)]
    if read_only:
        left.append(("  read-only", "warn"))
    if moment:
        room = max(8, width - cell_width(tuple(left)) - 14)
        left += [("  ", "text"), ("PAST ", "bad"), (fit(moment, min(room, width_of(moment))), "warn")]
        back: list[Span] = [(draw.word("app", "time_travel"), "key"), (" now ", "dim")]
        rest = width - cell_width(tuple(left)) - cell_width(tuple(back))
        return (*left, (" " * max(1, rest), "text"), *back)
    lost = view.link.lost(draw.now_s)
    if not view.link.ever:
        right: list[Span] = [(f"{glyphs.of('pending')} connecting ", "wait")]
    elif lost:
        right = [(f"{glyphs.of('lost')} {age(int(view.link.silence_s(draw.now_s) * 1e6))} old ", "bad")]
    else:
        right = [(f"{glyphs.of('live')} live ", "ok")]
    right = [*notes, *right]
    leader: list[Span] = [("leader ", "dim")]
    leader += foreign(view.leader, "text", glyphs) if view.leader else (("none", "bad"),)
    middle = [
        leader,
        [("term ", "dim"), (count_of(view.term), "text")],
        [("index ", "dim"), (count_of(view.index), "text")],
    ]
    # What does not fit is left out from the end, so that the state of the link always stays.
    while middle and cell_width(tuple(left)) + _parts_width(middle) + cell_width(tuple(right)) + 2 > width:
        middle.pop()
    spans = [span for part in middle for span in (*part, ("   ", "text"))]
    room = width - cell_width(tuple(left)) - cell_width(tuple(spans)) - cell_width(tuple(right))
    return (*left, (" " * max(1, room), "text"), *spans, *right)


def _parts_width(parts: Sequence[Sequence[Span]]) -> int:
    return sum(cell_width(tuple(part)) + 3 for part in parts)


def tabs_line(current: str, draw: Draw, *, right: Cell, width: int, table: Sequence[Key] = KEYMAP) -> Cell:
    """The views with their keys and counts, and what concerns the shown one."""
    left: Cell = ()
    for less in range(LEAST_TABS + 1):
        left = _tabs(current, draw, table, less)
        if cell_width(left) + cell_width(right) + 1 <= width:
            break
    room = width - cell_width(left) - cell_width(right) - 1
    if room < 0:
        return left
    return (*left, (" " * room, "text"), *right, (" ", "text"))


LEAST_TABS = 3


def _tabs(current: str, draw: Draw, table: Sequence[Key], less: int) -> Cell:
    """`less` 1 leaves out the counts of the other views where nothing is wrong, 2 shortens their titles, too, and
    LEAST_TABS leaves those out.
    """
    view = draw.view
    heard = view.online() - silent(view, draw.now_s)
    known = bool(view.leader) or view.past or draw.view.link.lost(draw.now_s)
    counted = view.letters.index >= 0
    dead = view.letters.count if counted else view.states[types_pb2.TASK_STATE_DEAD_LETTER]
    live = view.live_count()
    counts = {
        "nodes": (
            f"{heard if known else '?'}/{len(view.nodes)}",
            "" if known and heard == len(view.nodes) else "warn",
        ),
        "queue": (count_of(live) if live is not None else "", ""),
        "workflows": _workflows_tab(draw, alone=less > 0 and current != "workflows"),
        "letters": (count_of(dead), "bad" if dead else ""),
        "events": ("", ""),
    }
    spans: list[Span] = []
    for place, name, title in VIEWS:
        here = place == current
        spans += [(draw.glyphs.cursor if here else " ", "accent"), (key_of("app", name, table), "key")]
        if here or less < LEAST_TABS:
            said = title if here or less < 2 else SHORT_TITLES.get(place, title)
            spans.append((f" {said}", "strong" if here else "dim"))
        count, alarm = counts[place]
        if count and (here or alarm or not less):
            spans.append((f" {count}", alarm or ("accent" if here else "dim")))
        spans.append(("  ", "text"))
    return tuple(spans)


def _workflows_tab(draw: Draw, *, alone: bool) -> tuple[str, str]:
    """How many go on; those that failed are an alarm, with their mark: alone, where there is little room."""
    states = draw.view.workflow_states
    live = count_of(states[types_pb2.WORKFLOW_STATE_PENDING] + states[types_pb2.WORKFLOW_STATE_RUNNING])
    failed = states[types_pb2.WORKFLOW_STATE_FAILED]
    if not failed:
        return live, ""
    said = f"{count_of(failed)}{draw.glyphs.of('failed')}"
    return (said if alone else f"{live} {said}"), "bad"


def _needed(view: ClusterView) -> str:
    """What it takes to have a leader, in one sentence."""
    voters = sum(1 for row in view.nodes.values() if row.node.role == types_pb2.NODE_ROLE_VOTER)
    if not voters:
        return "nothing can be changed until one is elected."
    who = f"{voters // 2 + 1} of {voters} voters run and reach each other" if voters > 1 else "the only voter runs"
    return f"no changes until {who}."


def banner_line(draw: Draw) -> Cell | None:
    """What to say about a lost link or leader; None when all is well."""
    view, glyphs = draw.view, draw.glyphs
    link = view.link
    if not link.lost(draw.now_s):
        if view.leader:
            return None
        return ((f" {glyphs.warning} No leader: {_needed(view)}", "warn"),)
    # Once it was there, who does not answer just now matters less than since when.
    detail = _NO_ANSWER.sub(r"\1 does not answer.", link.detail) if link.ever else link.detail
    detail = _SOCKET.sub(r"\1", detail)
    where = foreign(_SOCKET.sub(r"\1", link.address) or "the cluster", "warn", glyphs)
    why: Cell = foreign(detail, "warn", glyphs) if detail else ()
    if not detail.endswith("."):
        # No sentence of its own: it says of whom.
        why = (*where, *(((": ", "warn"), *why) if why else ()))
    if link.over:
        return ((f" {glyphs.dot} ", "accent"), *foreign(link.detail, "accent", glyphs))
    if not link.ever:
        return ((f" {glyphs.warning} ", "warn"), *why) if link.detail else None
    old = age(int(link.silence_s(draw.now_s) * 1e6))
    head = f" {glyphs.warning} Link lost; what is shown is {old} old. "
    return ((head, "warn"), *why)


def footer_line(
    place: str,
    draw: Draw,
    *,
    note: Cell | None,
    read_only: bool,
    width: int,
    pending: Cell = (),
    table: Sequence[Key] = KEYMAP,
    past: bool = False,
    rows: bool = True,
    finds: bool = True,
) -> Cell:
    """The keys of the place, as many as fit; a note takes their room while it is shown. `pending` stands right.

    `past`: first those that move along the line of moments, and none that change anything. `rows`: whether the
    focus is on rows, and `finds` whether there is something to filter.
    """
    room = width - cell_width(pending) - 2 if pending else width
    if note is not None:
        text = fit("".join(part for part, _ in note), max(0, room - 1), ellipsis=draw.glyphs.ellipsis)
        left: Cell = ((" ", "text"), (text, note[0][1])) if pending and note else ((" ", "text"), *note)
    else:
        here = [*(keys_at("table", table) if rows else ()), *keys_at(place, table)]
        keys = [key for key in here if key.footer and key.keys and not ((read_only or past) and key.changes)]
        if past:
            keys = [key for key in keys_at("app", table) if key.name in PAST_KEYS and key.keys] + keys
        left = ((" ", "text"), *_hints(keys, draw, room, table, finds=finds))
    if not pending:
        return left
    return (*left, (" " * max(1, width - cell_width(left) - cell_width(pending) - 1), "text"), *pending)


def _hints(keys: Sequence[Key], draw: Draw, width: int, table: Sequence[Key], *, finds: bool) -> Cell:
    spans: list[Span] = []
    fixed = _hint(key_of("app", "filter", table), "filter") if finds else ()
    fixed += _hint(key_of("app", "help", table), "help")
    for key in keys:
        hint = _hint(draw.glyphs.enter if key.keys[0] == "enter" else shown_key(key.keys[0]), key.label)
        if cell_width((*spans, *hint, *fixed)) + 1 > width:
            break
        spans += hint
    return (*spans, *fixed)


def _hint(key: str, label: str) -> tuple[Span, ...]:
    return ((key, "key"), (f" {label}   ", "dim")) if key else ()


def help_groups(place: str, keys: Sequence[Key]) -> list[tuple[str, list[Key]]]:
    """Keys by the place that they belong to, in the order of the table."""
    groups: dict[str, list[Key]] = {}
    for key in keys:
        groups.setdefault(key.place, []).append(key)
    return list(groups.items())
