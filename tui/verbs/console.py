"""console, keymap and completion."""

from __future__ import annotations

import sys
from dataclasses import replace

import click
from click.shell_completion import get_completion_class

from tui.errors import usage
from tui.verbs.base import note, say, settings, verb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from typing import Any

    from tui.operator.preferences import Preferences


@verb()
@click.option(
    "--demo",
    metavar="SIZE",
    help="Show a made-up cluster: small, or as nodes=1000,tasks=100000,rate=1.",
)
@click.option("--mouse", is_flag=True, help="Use the mouse; without it your terminal selects text as usual.")
@click.option("--record", metavar="FILE", help="Record what the console receives, and your keys, to a new file.")
@click.option("--replay", metavar="FILE", help="Play back a recording instead of connecting.")
@click.option(
    "--speed",
    metavar="N",
    type=click.FloatRange(0.1, 1000.0),
    default=1.0,
    show_default=True,
    help="Of the replay.",
)
@click.option("--accessible", is_flag=True, help="Line by line, for screen readers and simple terminals.")
@click.option("--read-only", is_flag=True, help="Begin without being able to change anything.")
def console(
    demo: str | None,
    mouse: bool,
    record: str | None,
    replay: str | None,
    speed: float,
    accessible: bool,
    read_only: bool,
) -> None:
    """Open the console (what `cortex` alone does)."""
    if len([one for one in (demo, record, replay) if one is not None]) > 1:
        raise usage("--demo, --record and --replay exclude each other.", "Give one of them.")
    if accessible:
        converse(demo, record, replay, speed, read_only=read_only)
    elif replay is not None:
        open_replay(replay, speed, mouse=mouse)
    elif demo is None:
        open_console(mouse=mouse, record=record, read_only=read_only)
    else:
        open_demo("" if demo == "small" else demo, mouse=mouse, read_only=read_only)


def converse(
    demo: str | None, record: str | None, replay: str | None, speed: float, *, read_only: bool = False
) -> None:
    """Runs the console as a conversation until it is left. Raises ClusterError."""
    import asyncio
    import time
    from pathlib import Path

    from tui.console.clusters import Clusters
    from tui.demo.size import parse_size
    from tui.demo.source import DemoSource
    from tui.linear.conversation import Linear
    from tui.link.target import folders, resolve
    from tui.replay.recording import RecordedSource, Recording, ReplayedSource, recorded_lines
    from tui.tty.lines_in import typed_lines

    async def talk() -> None:
        clusters = recording = None
        if demo is not None:
            source: Any = DemoSource(parse_size("" if demo == "small" else demo))
        elif replay is not None:
            source = ReplayedSource(Path(replay), speed)
        else:
            chosen = settings()
            clusters = Clusters(resolve(chosen.data, chosen.cluster), folders())
            source, _ = clusters.open()
        lines: AsyncIterator[str] = typed_lines(0)
        if record is not None:
            recording = Recording(Path(record))
            source = RecordedSource(source, recording)
            lines = recorded_lines(lines, recording)
        still = read_only or replay is not None
        await Linear(source, say, lines, time.monotonic, read_only=still).run()
        if recording is not None:
            recording.close()
            if recording.problem:
                note(f"cortex: {recording.problem}")
        if clusters is not None:
            clusters.remember()

    asyncio.run(talk())


def open_replay(file: str, speed: float, *, mouse: bool = False) -> None:
    """Runs the console over a recording until it is left. Raises ClusterError."""
    from pathlib import Path

    from tui.replay.player import while_replaying
    from tui.replay.recording import ReplayedSource

    source: Any = ReplayedSource(Path(file), speed)
    own = _preferences(mouse)
    own = replace(own, keys=while_replaying(own.keys))
    _needs_terminal()
    from tui.app import run_console

    if status := run_console(source, read_only=True, preferences=own):
        click.get_current_context().exit(status)


def open_demo(size: str, *, mouse: bool = False, read_only: bool = False) -> None:
    """Runs the console over a made-up cluster until it is left. Raises ClusterError."""
    from tui.demo.size import parse_size

    wanted = parse_size(size)
    own = _preferences(mouse)
    _needs_terminal()
    from tui.app import run_console
    from tui.demo.source import DemoSource
    from tui.link.target import folders
    from tui.operator.keep import Keep

    keep = Keep(folders().state, "demo")
    if status := run_console(DemoSource(wanted), read_only=read_only, preferences=own, keep=keep):
        click.get_current_context().exit(status)


def open_console(*, mouse: bool = False, record: str | None = None, read_only: bool = False) -> None:
    """Runs the console until it is left. Raises ClusterError."""
    from tui.link.target import folders, resolve

    chosen = settings()
    cluster = resolve(chosen.data, chosen.cluster)
    own = _preferences(mouse)
    _needs_terminal()
    from tui.app import run_console
    from tui.console.clusters import Clusters

    clusters = Clusters(cluster, folders())
    source, keep = clusters.open()
    contexts = clusters.contexts
    if record is None:
        status = run_console(
            source,
            read_only=read_only,
            preferences=own,
            keep=keep,
            contexts=contexts,
            context=clusters.current,
        )
    else:
        from pathlib import Path

        from tui.replay.recording import RecordedSource, Recording

        recording = Recording(Path(record))
        recorded: Any = RecordedSource(source, recording)
        status = run_console(recorded, read_only=read_only, preferences=own, keep=keep)
        recording.close()
        if recording.problem:
            note(f"cortex: {recording.problem}")
    clusters.remember()
    if status:
        click.get_current_context().exit(status)


def _preferences(mouse: bool) -> Preferences:
    """What the operator's files say, and the flag. Raises ClusterError, before the terminal is taken."""
    from tui.link.target import folders
    from tui.operator.preferences import load

    own = load(folders())
    return replace(own, mouse=True) if mouse else own


def _needs_terminal() -> None:
    if settings().json or not (sys.stdin and sys.stdin.isatty() and sys.stdout and sys.stdout.isatty()):
        raise usage(
            "The console needs a terminal.",
            "Use `cortex tasks`, `cortex nodes` or `cortex status`, with --json for scripts.",
        )


@verb()
@click.option("--default", "as_shipped", is_flag=True, help="Ignore your own keymap.toml.")
def keymap(as_shipped: bool) -> None:
    """Print the console's keys in the form of keymap.toml.

    Keep what you change in $XDG_CONFIG_HOME/cortex/keymap.toml.
    """
    from tui.keyboard.keyfile import load, written
    from tui.keyboard.keytable import KEYMAP
    from tui.link.target import folders

    if settings().json:
        raise usage("The keys are printed as TOML alone.", "Leave --json out.")
    say(written(KEYMAP if as_shipped else load(folders().keymap)).rstrip())


@verb()
@click.argument("shell", metavar="SHELL", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script for bash, zsh or fish."""
    from tui.verbs.root import root

    kind = get_completion_class(shell)
    assert kind is not None  # the choice above names only what click has
    say(kind(root, {}, "cortex", "_CORTEX_COMPLETE").source())
