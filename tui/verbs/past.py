"""Options of list and show verbs: `--at`, which moment is meant and which one is shown, and `--linearizable`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from tui.documents import json_view
from tui.drawing.format import rfc3339
from tui.errors import usage
from tui.verbs.base import emit, linearizable_option, now_us, say

if TYPE_CHECKING:
    from cortex.v1 import cluster_pb2

F = TypeVar("F", bound=Callable[..., Any])


def parse_moment(text: str, option: str = "--at") -> cluster_pb2.Moment:
    """An index, a time, or how long ago, as a Moment. Raises ClusterError."""
    from tui.past.moments import MomentError, read_moment

    try:
        return read_moment(text, now_us())
    except MomentError as error:
        raise usage(f"{option}: {error.message}", error.remedy) from None


def _moment(context: click.Context, parameter: click.Parameter, value: str | None) -> cluster_pb2.Moment | None:
    return None if value is None else parse_moment(value, f"--{parameter.name}")


def at_option(what: str = "Show it as it was") -> Callable[[F], F]:
    """Decorator: adds --at, whose value is a Moment or None, and --linearizable."""
    option = click.option(
        "--at", metavar="TIME|INDEX", callback=_moment, help=f"{what}: a time, 10m ago, or an index."
    )
    return lambda function: option(linearizable_option(function))


def say_moment(reply: Any) -> None:
    """The line above what is shown of the past; nothing above the present."""
    if reply.HasField("at"):
        say(f"as of index {reply.at.index}, {rfc3339(reply.at.at_us)}")


def emit_as_of(document: json_view.Document, reply: Any) -> None:
    """Prints a JSON document, one of the past with `as_of`."""
    emit({**document, "as_of": as_of(reply.at)} if reply.HasField("at") else document)


def as_of(moment: cluster_pb2.Moment) -> json_view.Document:
    return {"index": moment.index, "at": rfc3339(moment.at_us)}
