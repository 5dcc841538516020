"""Plans about nodes: cordon, uncordon. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from cortex.v1 import types_pb2
from tui.columns.base import Draw
from tui.draw import Cell, foreign, node_state
from tui.plans.base import Done, Plan, command_lines, line, missing, nodes_of, tasks_of
from tui.source import Mutator
from tui.text import clean, fit


def cordon(draw: Draw, ids: Sequence[str]) -> Plan:
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
        if row.node.id not in taken and row.node.state == types_pb2.NODE_STATE_ACTIVE and row.node.online
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
    consequences.append(line("dim", "Voting goes on as before. Undone by C, uncordon."))

    async def call(mutator: Mutator) -> Done:
        replies = [await mutator.cordon(node) for node in taken]
        said = f"Cordoned: {', '.join(taken)}."
        return Done(said, audit=tuple(reply.operation_id for reply in replies))

    return Plan(
        "cordon", f"Cordon {nodes_of(len(taken))}", tuple(objects), tuple(consequences), tuple(left),
        command_lines("cordon", taken), frozenset(harm) | frozenset(taken), tuple(taken), call,
    )  # fmt: skip


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
    consequences.append(line("dim", "Undone by c, cordon."))

    async def call(mutator: Mutator) -> Done:
        replies = [await mutator.uncordon(node) for node in taken]
        said = f"Open for tasks again: {', '.join(taken)}."
        return Done(said, audit=tuple(reply.operation_id for reply in replies))

    return Plan(
        "uncordon", f"Uncordon {nodes_of(len(taken))}", tuple(objects), tuple(consequences), tuple(left),
        command_lines("uncordon", taken), frozenset(taken), tuple(taken), call,
    )  # fmt: skip
