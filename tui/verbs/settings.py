"""settings get, settings set: what is the same for the whole cluster."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from tui.documents import history_view
from tui.drawing.format import Column
from tui.drawing.text import clean
from tui.errors import ClusterError
from tui.verbs.base import VerbGroup, run, say, say_table, verb
from tui.verbs.base import settings as flags
from tui.verbs.outcome import say_mutation
from tui.verbs.past import at_option, emit_as_of, say_moment

if TYPE_CHECKING:
    from cortex.v1 import cluster_pb2
    from tui.link.client import ClusterClient

COLUMNS = (Column("NAME"), Column("VALUE", "right"), Column("DEFAULT", "right"), Column("MEANING", shrinks=True))


@click.group(
    "settings",
    cls=VerbGroup,
    verbs={"get": "tui.verbs.settings:get", "set": "tui.verbs.settings:set_setting"},
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.pass_context
def settings(context: click.Context) -> None:
    """Show or change cluster-wide settings.

    Without a command, shows all of them.
    """
    if context.invoked_subcommand is None:
        _show("")


@verb()
@click.argument("name", metavar="[NAME]", default="")
@at_option("Show them as they were")
def get(name: str, at: cluster_pb2.Moment | None) -> None:
    """Show one setting, or all of them."""
    _show(name, at)


@verb("set")
@click.argument("name", metavar="NAME")
@click.argument("value", metavar="VALUE")
def set_setting(name: str, value: str) -> None:
    """Change a setting for the whole cluster, at once.

    A number or weights go back to what they are without being set by `default`.
    """

    async def work(client: ClusterClient) -> None:
        number = _default_number(await client.get_settings(), name) if value == "default" else None
        say_mutation(await client.set_setting(name, number or _json(value)))

    run(work)


def _show(name: str, at: cluster_pb2.Moment | None = None) -> None:
    async def work(client: ClusterClient) -> None:
        reply = await client.get_settings(at=at)
        if name:
            _say_one(_find(reply, name), reply)
        elif flags().json:
            emit_as_of(history_view.settings(reply), reply)
        else:
            say_moment(reply)
            say_table(
                COLUMNS,
                [(row.name, _plain(row.value), _plain(row.default_value), row.help) for row in reply.settings],
            )

    run(work)


def _say_one(row: cluster_pb2.SettingView, reply: cluster_pb2.GetSettingsReply) -> None:
    if flags().json:
        emit_as_of({**history_view.setting(row), "index": reply.index}, reply)
        return
    say_moment(reply)
    fields = {
        "name": row.name,
        "value": _plain(row.value),
        "default": _plain(row.default_value),
        "meaning": row.help,
    }
    for key, text in fields.items():
        say(f"{key + ':':<9}{clean(text)}")


def _find(reply: cluster_pb2.GetSettingsReply, name: str) -> cluster_pb2.SettingView:
    for row in reply.settings:
        if row.name == name:
            return row
    names = ", ".join(row.name for row in reply.settings)
    raise ClusterError("not_found", f"There is no setting {clean(name)!r}.", f"There are: {names}.")


def _default_number(reply: cluster_pb2.GetSettingsReply, name: str) -> str | None:
    """The default of a setting that is a number; others have the word `default` themselves, or no such thing."""
    found = next((row.default_value for row in reply.settings if row.name == name), "")
    return found if found.isdecimal() else None


def _plain(value: str) -> str:
    """A value without JSON's quotes."""
    found = history_view.value_of(value)
    return found if isinstance(found, str) else value


def _json(text: str) -> str:
    """What was typed as JSON: a number as it is, a word with quotes."""
    try:
        json.loads(text)
    except ValueError:
        return json.dumps(text)
    return text
