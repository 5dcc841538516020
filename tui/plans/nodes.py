"""Plans about nodes: cordon, uncordon, remove. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from cortex.v1 import types_pb2
from tui.columns.base import Draw
from tui.drawing.draw import Cell, foreign, node_state
from tui.drawing.text import clean, fit
from tui.plans.base import Done, Plan, command_lines, line, missing, nodes_of, tasks_of
from tui.source import Mutator
from tui.store.nodes import NodeRow

_BEHIND = "  is no machine: name the node before the /"


def cordon(draw: Draw, ids: Sequence[str], message: str = "") -> Plan:
    """`message` is shown beside the nodes."""
    taken: list[str] = []
    objects: list[Cell] = []
    left: list[Cell] = []
    harm: set[str] = set()
    running = 0
    for key in ids:
        row = draw.view.nodes.get(key)
        if row is None:
            left.append(missing(key, draw))
            continue
        head = (*((fit(text, 12), role) for text, role in node_state(row.node, draw.glyphs)),)
        shown: Cell = (*head, *foreign(key, "strong", draw.glyphs))
        if row.node.kind:
            left.append((*shown, (_BEHIND, "warn")))
            continue
        if row.node.state != types_pb2.NODE_STATE_ACTIVE:
            left.append((*shown, ("  is not active", "warn")))
            continue
        busy = row.view.running if row.view is not None else 0
        waiting = row.view.assigned if row.view is not None else 0
        running += busy
        taken.append(key)
        objects.append((*shown, (f"  {busy} running, {waiting} assigned", "text")))
    others = [
        row.node.id
        for row in draw.view.nodes.values()
        if row.node.id not in taken
        and row.node.state == types_pb2.NODE_STATE_ACTIVE
        and row.node.online
        and not row.node.kind
    ]
    consequences = []
    if running:
        goes = "goes" if running == 1 else "go"
        consequences.append(
            line("text", f"{tasks_of(running)} running there {goes} on; those not started move elsewhere.")
        )
    if others:
        consequences.append(line("text", f"New tasks go to {nodes_of(len(others))} that stay open."))
    else:
        consequences.append(line("bad", "No other node is open: every new task will wait."))
        harm.add("nothing left")
    consequences.append(line("dim", f"Voting goes on as before. Undone by {_named(draw, 'uncordon')}."))
    if message:
        consequences.append((("Message: ", "dim"), *foreign(message, "text", draw.glyphs)))

    async def call(mutator: Mutator) -> Done:
        replies = [await mutator.cordon(node, message) for node in taken]
        said = f"Cordoned: {', '.join(taken)}."
        return Done(said, audit=tuple(reply.operation_id for reply in replies))

    return Plan(
        "cordon", f"Cordon {nodes_of(len(taken))}", tuple(objects), tuple(consequences), tuple(left),
        _with_message(command_lines("cordon", taken), message), frozenset(harm) | frozenset(taken), tuple(taken),
        call, with_reason=lambda reason: cordon(draw, ids, reason),
    )  # fmt: skip


def _with_message(command: str, message: str) -> str:
    """Behind each of the commands."""
    words = f" --message {shlex.quote(clean(message))}" if message else ""
    return " && ".join(part + words for part in command.split(" && ")) if words else command


def uncordon(draw: Draw, ids: Sequence[str]) -> Plan:
    closed = (types_pb2.NODE_STATE_CORDONED, types_pb2.NODE_STATE_DRAINING, types_pb2.NODE_STATE_DRAINED)
    taken: list[str] = []
    objects: list[Cell] = []
    left: list[Cell] = []
    for key in ids:
        row = draw.view.nodes.get(key)
        if row is None:
            left.append(missing(key, draw))
            continue
        head = (*((fit(text, 12), role) for text, role in node_state(row.node, draw.glyphs)),)
        shown: Cell = (*head, *foreign(key, "strong", draw.glyphs))
        if row.node.state in closed:
            taken.append(key)
            said = f"  {clean(row.node.message, ascii_only=draw.glyphs.ascii_only)}" if row.node.message else ""
            objects.append((*shown, (said, "dim")))
        else:
            left.append((*shown, ("  is open already", "warn")))
    queued = draw.view.states[types_pb2.TASK_STATE_QUEUED]
    consequences = [line("text", f"Open for new tasks at once; {tasks_of(queued)} queued now.")]
    consequences.append(line("dim", f"Undone by {_named(draw, 'cordon')}."))

    async def call(mutator: Mutator) -> Done:
        replies = [await mutator.uncordon(node) for node in taken]
        said = f"Open for tasks again: {', '.join(taken)}."
        return Done(said, audit=tuple(reply.operation_id for reply in replies))

    return Plan(
        "uncordon", f"Uncordon {nodes_of(len(taken))}", tuple(objects), tuple(consequences), tuple(left),
        command_lines("uncordon", taken), frozenset(taken), tuple(taken), call,
    )  # fmt: skip


def remove(draw: Draw, ids: Sequence[str], message: str = "") -> Plan:
    """Forget workers for good."""
    taken: list[str] = []
    objects: list[Cell] = []
    left: list[Cell] = []
    for key in ids:
        row = draw.view.nodes.get(key)
        if row is None:
            left.append(missing(key, draw))
            continue
        head = (*((fit(text, 12), role) for text, role in node_state(row.node, draw.glyphs)),)
        shown: Cell = (*head, *foreign(key, "strong", draw.glyphs))
        if why := _kept(row):
            left.append((*shown, (f"  {why}", "warn")))
        else:
            taken.append(key)
            objects.append(shown)
    consequences = [line("warn", "Forgotten for good: it joins again only with a new data folder.")]
    consequences.append(line("dim", "A removal cannot be undone."))

    async def call(mutator: Mutator) -> Done:
        replies = [await mutator.remove_node(node, message) for node in taken]
        return Done(f"Removed: {', '.join(taken)}.", audit=tuple(reply.operation_id for reply in replies))

    return Plan(
        "remove", f"Remove {nodes_of(len(taken))}", tuple(objects), tuple(consequences), tuple(left),
        _with_message(command_lines("remove", taken), message), frozenset(taken), tuple(taken), call, destroys=True,
        with_reason=lambda reason: remove(draw, ids, reason),
    )  # fmt: skip


def _kept(row: NodeRow) -> str:
    """Why the node cannot be removed; empty when it can."""
    if row.node.kind:
        return _BEHIND.strip()
    if row.node.role == types_pb2.NODE_ROLE_VOTER:
        return "votes: drain it, it goes on voting"
    busy = row.view is not None and bool(row.view.running or row.view.assigned)
    return "has tasks: drain it first" if row.node.online and busy else ""


def _named(draw: Draw, action: str) -> str:
    """The key of an action on nodes, and the action."""
    word = draw.word("nodes", action)
    return word if word == action else f"{word}, {action}"
