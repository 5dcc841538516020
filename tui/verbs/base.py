"""What all verbs share: target flags in any position, one way to run, one way to print, one way to fail."""

from __future__ import annotations

import asyncio
import importlib
import json
import shutil
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import click
from click.core import ParameterSource

from tui.drawing.text import clean
from tui.errors import EXIT_INTERRUPTED, ClusterError, usage
from tui.verbs.guide import EXAMPLES

STATE_COLOURS = {
    "completed": "green",
    "active": "green",
    "running": "cyan",
    "assigned": "cyan",
    "failed": "red",
    "dead_letter": "red",
    "offline": "red",
    "cancelled": "yellow",
    "cordoned": "yellow",
    "draining": "yellow",
    "drained": "yellow",
}


# Metavars of parameters that name something. Given empty, as by an unset variable of a script, they must not mean
# "any" or "the default": a node, a plan, a cause, a submit key.
NAMES = frozenset({"ID", "NODE", "TASK", "N", "W", "WHO", "FP", "KEY", "NAME", "OPERATION", "F", "TIME"})


@dataclass
class Settings:
    """The target flags, wherever they stood."""

    data: str | None = None
    cluster: str | None = None
    form: str = "table"
    """table, json, or where a verb has it wide or csv."""
    linearizable: bool = False

    @property
    def json(self) -> bool:
        return self.form == "json"


class Interrupted(ClusterError):
    """Ctrl-C: one line, exit 130."""

    def __init__(self, message: str = "Interrupted.", remedy: str = "") -> None:
        super().__init__("interrupted", message, remedy, exit_code=EXIT_INTERRUPTED)


class ReaderGone(Exception):
    """Whoever read our output has enough: `| head`."""


def settings() -> Settings:
    return click.get_current_context().find_root().ensure_object(Settings)


def _keep(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    chosen = context.find_root().ensure_object(Settings)
    if value == "":
        # An unset variable of a script must not mean another cluster.
        raise usage(f"--{parameter.name} is empty.", f"Name a cluster with it, or leave --{parameter.name} out.")
    if parameter.name == "data" and value is not None:
        chosen.data = value
    elif parameter.name == "cluster" and value is not None:
        chosen.cluster = value
    elif parameter.name in ("json", "output") and value:
        chosen.form = "json" if value is True else value


def _keep_linearizable(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    context.find_root().ensure_object(Settings).linearizable |= value


linearizable_option = click.option(
    "--linearizable",
    is_flag=True,
    expose_value=False,
    callback=_keep_linearizable,
    help="Ask a majority first, so that every acknowledged change is shown.",
)
"""Decorator for verbs that read."""


def target_options() -> list[click.Parameter]:
    """--data, --cluster, --json and -o; they are kept in Settings and not passed on."""
    common: dict[str, Any] = {"expose_value": False, "callback": _keep}
    return [
        click.Option(
            ["--data"], metavar="DIR", help="Folder of a local cluster, as given to `cortex up`.", **common
        ),
        click.Option(
            ["--cluster"],
            metavar="ADDR[,ADDR]",
            help="HOST:PORT of daemons, or a name from context.json.",
            **common,
        ),
        click.Option(["--json"], is_flag=True, help="Print JSON.", **common),
        click.Option(
            ["-o", "--output"],
            type=click.Choice(["table", "json", "wide", "csv"]),
            help="Output format; wide and csv are for lists.",
            **common,
        ),
    ]


def _refuse_empty(context: click.Context, parameter: click.Parameter) -> None:
    if parameter.name is None or (parameter.metavar or "").strip("[].") not in NAMES:
        return
    value = context.params.get(parameter.name)
    if value != "" and not (isinstance(value, tuple) and "" in value):
        return
    if context.get_parameter_source(parameter.name) is not ParameterSource.COMMANDLINE:
        return
    name = parameter.opts[0] if isinstance(parameter, click.Option) else (parameter.metavar or "").strip("[].")
    raise usage(f"{name} is empty.", f"See `{context.command_path} --help`.")


@contextmanager
def _said_of(context: click.Context) -> Iterator[None]:
    """An error about arguments says whose they are; click's parser leaves that out of some."""
    try:
        yield
    except click.UsageError as error:
        error.ctx = error.ctx or context
        raise


def _write_examples(context: click.Context, formatter: click.HelpFormatter) -> None:
    lines = EXAMPLES.get(context.command_path.partition(" ")[2], ())
    if lines:
        with formatter.section("Examples"):
            for line in lines:
                formatter.write(f"{'':>{formatter.current_indent}}{line}\n")


class Verb(click.Command):
    """A command that takes the target flags too, and ends in one clear line on Ctrl-C."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        own = {name for parameter in self.params for name in parameter.opts}
        self.params += [option for option in target_options() if not own & set(option.opts)]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        with _said_of(ctx):
            rest = super().parse_args(ctx, args)
        for parameter in self.params:
            _refuse_empty(ctx, parameter)
        return rest

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        _write_examples(ctx, formatter)

    def invoke(self, ctx: click.Context) -> Any:
        form = settings().form
        if form in ("wide", "csv") and not getattr(self.callback, "lists", False):
            raise usage(
                f"`{ctx.command_path}` does not support -o {form}.",
                "Use -o table or -o json; wide and csv are for lists.",
            )
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise Interrupted from None
        except BrokenPipeError:
            # click would end with 1.
            raise ReaderGone from None


class VerbGroup(click.Group):
    """A group of lazily imported verbs: name -> "module:attribute"."""

    def __init__(
        self,
        *args: Any,
        verbs: Mapping[str, str],
        sections: Mapping[str, Sequence[str]] | None = None,
        **options: Any,
    ) -> None:
        """`sections` puts the verbs under headings in the help; without it they are one list."""
        options.setdefault("no_args_is_help", False)
        super().__init__(*args, **options)
        self._verbs = verbs
        self._sections = sections or {"Commands": tuple(verbs)}
        self.params += target_options()

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        with _said_of(ctx):
            return super().parse_args(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._verbs)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        widest = max(map(len, self._verbs))
        room = formatter.width - 6 - widest
        for heading, names in self._sections.items():
            found = ((name, self.get_command(ctx, name)) for name in names)
            lines = [
                (name.ljust(widest), verb.get_short_help_str(room)) for name, verb in found if verb is not None
            ]
            with formatter.section(heading):
                formatter.write_dl(lines)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        _write_examples(ctx, formatter)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        where = self._verbs.get(cmd_name)
        if where is None:
            return None
        module, _, attribute = where.partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in self._verbs:
            if args[0].startswith("-"):
                return super().resolve_command(ctx, args)
            like = get_close_matches(args[0], self._verbs, n=1)
            meant = f"Did you mean `{ctx.command_path} {like[0]}`? " if like else ""
            raise usage(
                f"There is no command {clean(f'{ctx.command_path} {args[0]}')!r}.",
                f"{meant}Commands: {', '.join(self._verbs)}.",
            )
        return super().resolve_command(ctx, args)


def verb(name: str | None = None, **options: Any) -> Callable[[Callable[..., Any]], Verb]:
    """Decorator: makes a Verb of a function."""
    options.setdefault("context_settings", {"help_option_names": ["-h", "--help"]})
    return click.command(name, cls=Verb, **options)


def run(
    work: Callable[[Any], Awaitable[int | None]],
    *,
    interrupted: Callable[[], Interrupted] = Interrupted,
) -> None:
    """Runs `work` with a client of the chosen cluster and ends with the exit code that it returns.

    `interrupted` makes what Ctrl-C is answered with, for work that leaves something going on.
    """
    # Here, so that help and completion do not wait for gRPC.
    from tui.link.client import ClusterClient
    from tui.link.state import LastIndex
    from tui.link.target import folders, resolve

    chosen = settings()
    cluster = resolve(chosen.data, chosen.cluster)
    last = LastIndex(folders().state, cluster.key)

    async def connected() -> int | None:
        known = last.read()
        async with ClusterClient(
            cluster.targets, cluster.secret, min_index=known, linearizable=chosen.linearizable
        ) as client:
            try:
                return await work(client)
            finally:
                if client.min_index > known:
                    last.raise_to(client.min_index)

    try:
        code = asyncio.run(connected())
    except KeyboardInterrupt:
        raise interrupted() from None
    if code:
        click.get_current_context().exit(code)


def emit(document: Mapping[str, Any] | list[Any]) -> None:
    """Prints one JSON document on one line."""
    say(json.dumps(document, allow_nan=False))


def say(line: str) -> None:
    """Prints one line of text, which must be clean. A reader that went away ends the command quietly."""
    click.echo(line, color=None if sys.stdout is not None and sys.stdout.isatty() else False)


def note(line: str) -> None:
    """Prints one line beside the output, on stderr."""
    click.echo(line, err=True)


def say_table(columns: Any, rows: Any, *, whole: bool = False) -> None:
    """Prints a table: cut to the terminal unless `whole` and coloured there, whole and plain elsewhere."""
    from tui.drawing.format import table
    from tui.link.target import colour_wanted

    terminal = sys.stdout is not None and sys.stdout.isatty()
    coloured = terminal and colour_wanted()
    width = shutil.get_terminal_size().columns if terminal and not whole else None

    def paint(title: str, cell: str) -> str:
        colour = STATE_COLOURS.get(cell.strip()) if title == "STATE" and coloured else None
        return click.style(cell, fg=colour) if colour else cell

    for line in table(columns, rows, width=width, paint=paint):
        say(line)


def write_raw(data: bytes, *, err: bool = False) -> None:
    """Writes a command's bytes as they are, at once."""
    stream = sys.stderr if err else sys.stdout
    if stream is not None:
        stream.flush()
        stream.buffer.write(data)
        stream.buffer.flush()


def now_us() -> int:
    """Unix time of this machine, microseconds."""
    return time.time_ns() // 1000
