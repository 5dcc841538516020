"""workflows, and workflow list."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from tui.documents import workflow_view
from tui.drawing.format import Column, age
from tui.drawing.text import clean
from tui.verbs.base import note, now_us, run, say_table, settings, verb
from tui.verbs.listed import Shape, Shown, chosen_keys, shape_options
from tui.verbs.past import at_option, emit_as_of, say_moment
from tui.verbs.workflow import time_of

if TYPE_CHECKING:
    from cortex.v1 import cluster_pb2, types_pb2
    from tui.link.client import ClusterClient

PAGE = 1000
PLAIN = re.compile(r"[\w.:@+-]*")
"""A part of a name, which is the cluster's to find."""
LIST_COLUMNS = (
    Column("ID"),
    Column("STATE"),
    Column("RUN", "right", optional=True),
    Column("TASKS", "right"),
    Column("LEFT", "right"),
    Column("FAILED", "right", optional=True),
    Column("AGE", "right"),
    Column("TIME", "right", optional=True),
    Column("NAME", shrinks=True),
    Column("REASON", shrinks=True),
)


def _list_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """What `workflows` and `workflow list` take."""
    decorated: Any = function
    for option in (
        shape_options(own_filter=True),
        at_option("List them as they were"),
        click.option("--cursor", metavar="C", default="", help="Continue at the next_cursor of the previous page."),
        click.option(
            "--limit",
            metavar="N",
            type=click.IntRange(1, PAGE),
            default=50,
            show_default=True,
            help="Most rows to show.",
        ),
        click.option(
            "--filter", "text", metavar="EXPR", default="", help="Part of the name or id, or a filter expression."
        ),
        click.option(
            "--state",
            "states",
            multiple=True,
            type=click.Choice(workflow_view.workflow_states()),
            help="May be repeated.",
        ),
    ):
        decorated = option(decorated)
    decorated.lists = True
    return decorated  # type: ignore[no-any-return]


@verb("list")
@_list_options
def list_workflows(**options: Any) -> None:
    """List workflows in all states, newest first."""
    _list(**options)


@verb("workflows")
@_list_options
def workflows(**options: Any) -> None:
    """List workflows, newest first (as `cortex workflow list`)."""
    _list(**options)


def _list(
    states: tuple[str, ...], text: str, limit: int, cursor: str, at: cluster_pb2.Moment | None, shape: Shape
) -> None:
    from cortex.v1 import types_pb2

    wanted = [types_pb2.WorkflowState.Value(f"WORKFLOW_STATE_{name.upper()}") for name in states]

    async def work(client: ClusterClient) -> None:
        plain = PLAIN.fullmatch(text) is not None
        chosen = shape if plain else replace(shape, expression=text)
        reply = await client.list_workflows(
            states=wanted,
            text=text if plain else "",
            limit=PAGE if chosen.picks else limit,
            cursor=cursor,
            at=at,
        )
        if chosen.asked and _shaped(reply, chosen, limit):
            return
        if settings().json:
            emit_as_of(workflow_view.listing(reply), reply)
            return
        say_moment(reply)
        now = reply.at.at_us if reply.HasField("at") else now_us()
        say_table(LIST_COLUMNS, [_list_row(row, now) for row in reply.workflows])
        if reply.next_cursor:
            shown = f"{len(reply.workflows)} of {reply.total}"
            note(f"cortex: {shown}; the next with --cursor {clean(reply.next_cursor)}")

    run(work)


def _shaped(reply: cluster_pb2.ListWorkflowsReply, shape: Shape, limit: int) -> bool:
    """Leaves in the reply what was asked for; returns whether it has been printed."""
    from tui.columns.workflows import WORKFLOWS
    from tui.store.view import ClusterView

    view = ClusterView()
    by_key = {row.id: row for row in reply.workflows}
    for row in by_key.values():
        view.workflows.put(row.id, row)
    keys = chosen_keys(WORKFLOWS, view.workflows, list(by_key), shape, reply.at.at_us)[:limit]
    if not settings().json:
        Shown(WORKFLOWS, view, view.workflows, reply.at.at_us).say(keys, shape)
        if reply.next_cursor:
            note(f"cortex: {len(keys)} of {reply.total}; the next with --cursor {clean(reply.next_cursor)}")
        return True
    del reply.workflows[:]
    reply.workflows.extend(by_key[key] for key in keys)
    return False


def _list_row(row: types_pb2.Workflow, now: int) -> tuple[str, ...]:
    return (
        row.id,
        workflow_view.workflow_state(row.state),
        str(row.run),
        str(row.count),
        str(row.remaining),
        str(row.failures),
        age(row.created_at_us, now),
        time_of(row.started_at_us, row.completed_at_us, now),
        row.name,
        row.reason or row.cancel_reason,
    )
