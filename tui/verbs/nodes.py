"""nodes, node, approvals, cordon, uncordon."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from tui.documents import json_view, resources_view
from tui.drawing.format import Column, size
from tui.drawing.text import clean
from tui.errors import ClusterError, usage
from tui.verbs.base import emit, note, run, say, say_table, settings, verb
from tui.verbs.listed import Shape, Shown, chosen_keys, shape_options
from tui.verbs.outcome import say_mutation
from tui.verbs.past import at_option, emit_as_of, say_moment
from tui.verbs.tasks import event_line

if TYPE_CHECKING:
    from cortex.v1 import cluster_pb2, types_pb2
    from tui.link.client import ClusterClient

LAST_EVENTS = 20
INSPECT_S = 4.0
SPANS_US = {"10m": 600_000_000, "2h": 7_200_000_000, "24h": 86_400_000_000}
_OF_NODES = ("node_", "alarm", "learner_", "voter_")
NODE_COLUMNS = (
    Column("ID"),
    Column("STATE"),
    Column("ROLE"),
    Column("LEADER"),
    Column("SCORE", "right"),
    Column("CPU", "right"),
    Column("MEM FREE", "right"),
    Column("DISK FREE", "right"),
    Column("RUN", "right"),
    Column("SLOTS", "right"),
    Column("HELD", "right"),
    Column("LABELS", shrinks=True),
    Column("ADDRESS"),
)
NOTE = Column("NOTE", shrinks=True)


@verb()
@shape_options()
@at_option("List them as they were, without samples and scores")
def nodes(at: cluster_pb2.Moment | None, shape: Shape) -> None:
    """List the nodes with their scores for a plain shell task."""

    async def work(client: ClusterClient) -> None:
        reply = await client.list_nodes(at=at)
        if shape.asked and _shaped(reply, shape):
            return
        if settings().json:
            emit_as_of(json_view.nodes(reply), reply)
        else:
            say_moment(reply)
            rows = [(*_row(view), _note(view.node)) for view in reply.nodes]
            noted = any(row[-1] for row in rows)
            say_table(
                (*NODE_COLUMNS, NOTE) if noted else NODE_COLUMNS, rows if noted else [row[:-1] for row in rows]
            )

    run(work)


@verb()
@shape_options()
def approvals(shape: Shape) -> None:
    """List machines that wait for approval to join.

    None does in this release: whoever has the secret joins.
    """

    async def work(client: ClusterClient) -> None:
        from tui.columns.approvals import NONE_YET, waits

        reply = await client.list_nodes()
        waiting = [view for view in reply.nodes if waits(view.node)]
        del reply.nodes[:]
        reply.nodes.extend(waiting)
        if shape.asked and _shaped(reply, shape):
            return
        if settings().json:
            emit([json_view.node(view) for view in reply.nodes])
        elif waiting:
            say_table(NODE_COLUMNS, [_row(view) for view in waiting])
        else:
            say(NONE_YET)

    run(work)


@verb()
@click.argument("node_id", metavar="ID")
@click.option("--history", is_flag=True, help="Draw its measurements over --span.")
@click.option(
    "--span", type=click.Choice(list(SPANS_US)), default="10m", help="Time that --history covers; default 10m."
)
@at_option()
def node(node_id: str, history: bool, span: str, at: cluster_pb2.Moment | None) -> None:
    """Show one node: resources, tasks and latest events."""
    if history and at is not None:
        raise usage("--history and --at exclude each other.", "A node keeps its own last day: see --span.")

    async def work(client: ClusterClient) -> None:
        reply = await client.list_nodes(at=at)
        view = find(reply, node_id)
        moment = reply.at if reply.HasField("at") else None
        inspected = await _inspected(client, view.node, span if history else "") if moment is None else None
        events = [] if history or view.node.kind else await _events_of(client, view.node.id, moment)
        if settings().json:
            document = {**json_view.node(view), "events": [json_view.event(row) for row in events]}
            emit_as_of({**document, **_inspected_document(inspected, history)}, reply)
            return
        say_moment(reply)
        if history:
            _say_history(view.node.id, inspected)
            return
        from tui.documents.node_text import node_lines

        for line in node_lines(view, inspected.tasks if inspected is not None else ()):
            say(line)
        for row in events:
            say(event_line(row))

    run(work)


@verb()
@click.argument("node_id", metavar="NODE")
@click.option("--message", metavar="TEXT", default="", help="Note kept with the node, at most 200 characters.")
def cordon(node_id: str, message: str) -> None:
    """Place no new tasks on a node."""

    async def work(client: ClusterClient) -> None:
        say_mutation(await client.cordon(node_id, message))

    run(work)


@verb()
@click.argument("node_id", metavar="NODE")
@click.option("--message", metavar="TEXT", default="", help="Note kept with the node, at most 200 characters.")
def uncordon(node_id: str, message: str) -> None:
    """Let a node take tasks again."""

    async def work(client: ClusterClient) -> None:
        say_mutation(await client.uncordon(node_id, message))

    run(work)


def _shaped(reply: cluster_pb2.ListNodesReply, shape: Shape) -> bool:
    """Leaves in the reply what was asked for; returns whether it has been printed."""
    from tui.columns.nodes import NODES
    from tui.store.nodes import NodeRow
    from tui.store.view import ClusterView

    view = ClusterView()
    shown = Shown(NODES, view, view.nodes, reply.at.at_us)
    by_key = {item.node.id: item for item in reply.nodes}
    for key, item in by_key.items():
        view.nodes.put(key, NodeRow(item.node, item, shown.now_s, leader=item.leader))
    keys = chosen_keys(NODES, view.nodes, list(by_key), shape)
    if not settings().json:
        shown.say(keys, shape)
        return True
    del reply.nodes[:]
    reply.nodes.extend(by_key[key] for key in keys)
    return False


async def _inspected(client: ClusterClient, row: types_pb2.Node, span: str) -> cluster_pb2.InspectNodeReply | None:
    """What only the node itself knows; without it, and said beside, where it does not answer. Raises ClusterError
    for what was asked for by name."""
    from tui.documents.node_text import SPARK_STEPS

    if row.kind or (not row.online and not span):
        return None
    points = 0 if settings().json else SPARK_STEPS
    try:
        return await client.inspect_node(
            row.id, span_us=SPANS_US[span] if span else 0, points=points, timeout_s=INSPECT_S
        )
    except ClusterError as error:
        if span:
            raise
        note(f"cortex: what its tasks use is not known: {error.message}")
        return None


def _inspected_document(reply: cluster_pb2.InspectNodeReply | None, history: bool) -> json_view.Document:
    if reply is None:
        return {"tasks": None}
    document: json_view.Document = {"tasks": [resources_view.task_use(row) for row in reply.tasks]}
    return {**document, "history": resources_view.history(reply)} if history else document


def _say_history(name: str, reply: cluster_pb2.InspectNodeReply | None) -> None:
    from tui.documents.node_text import history_lines

    lines = list(history_lines(reply, unicode=_writes_unicode())) if reply is not None else []
    for line in lines:
        say(line)
    if len(lines) < 2:
        note(f"cortex: {clean(name)} has measured nothing in that time")


def _writes_unicode() -> bool:
    try:
        "▁".encode(getattr(sys.stdout, "encoding", None) or "ascii")
    except (UnicodeError, LookupError):
        return False
    return True


async def _events_of(client: ClusterClient, node_id: str, at: cluster_pb2.Moment | None) -> list[types_pb2.Event]:
    """The last events of the node itself, oldest first."""
    kinds = json_view.event_types()
    types = [kind for name, kind in kinds.items() if name.startswith(_OF_NODES)]
    reply = await client.list_events(node=node_id, types=types, newest_first=True, limit=LAST_EVENTS, at=at)
    return list(reversed(reply.events))


def find(reply: cluster_pb2.ListNodesReply, text: str) -> cluster_pb2.NodeView:
    """The node with that id, else hostname, else unique prefix of an id. Raises ClusterError."""
    by_name = [view for view in reply.nodes if text in (view.node.id, view.node.hostname)]
    exact = [view for view in by_name if view.node.id == text]
    # What is behind a node is not what a part of the node's own name means.
    found = (
        exact
        or by_name
        or [
            view
            for view in reply.nodes
            if text and view.node.id.startswith(text) and ("/" in text or not view.node.kind)
        ]
    )
    if not found:
        raise ClusterError("not_found", f"There is no node {clean(text)!r}.", "List the nodes with `cortex nodes`.")
    if len(found) > 1:
        ids = ", ".join(view.node.id for view in found[:5])
        raise ClusterError("ambiguous", f"{clean(text)!r} could be any of {ids}.", "Write the id.")
    return found[0]


def _row(view: cluster_pb2.NodeView) -> tuple[str, ...]:
    row, sample = view.node, view.resources
    known = view.HasField("resources")
    return (
        row.id,
        json_view.node_state(row),
        json_view.role_of(row),
        "*" if view.leader else "",
        f"{view.score:.1f}" if view.scored else "-",
        f"{sample.cpu_percent:.0f}%" if known else "-",
        size(sample.memory_available_bytes) if known else "-",
        size(sample.disk_free_bytes) if known and not row.kind else "-",
        str(view.running),
        str(json_view.slots(row)) if not row.kind else "-",
        str(view.assigned),
        ",".join(json_view.label(item) for item in row.labels),
        row.address,
    )


def _note(row: types_pb2.Node) -> str:
    """What a person should know of it."""
    if row.alarm:
        return f"ALARM: {row.alarm}"
    return f"suspected: {row.suspect_reason}" if row.suspect_reason else row.message
