"""snapshot save, inspect: a copy of the cluster's state. cortexd makes and reads it, on the machine of a voter."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tui.drawing.text import clean
from tui.errors import ClusterError
from tui.verbs.base import VerbGroup, emit, run, say, settings, verb

if TYPE_CHECKING:
    from tui.link.client import ClusterClient

_FILE = click.argument("file", metavar="F", type=click.Path(path_type=Path))


@click.group(
    "snapshot",
    cls=VerbGroup,
    verbs={"save": "tui.verbs.snapshot:save", "inspect": "tui.verbs.snapshot:inspect"},
    context_settings={"help_option_names": ["-h", "--help"]},
)
def snapshot() -> None:
    """Save or inspect a copy of the cluster's state.

    `cortexd snapshot restore` begins a cluster with one.
    """


@verb()
@_FILE
def save(file: Path) -> None:
    """Save the state to a new file F.

    It comes from a voting daemon on this machine.
    """

    async def work(client: ClusterClient) -> None:
        reply = await client.status()
        voting = {voter.id for voter in reply.voters if voter.up} or {reply.node}
        near = {target.node or reply.node: target.address for target in client.targets}
        folders = [
            os.path.dirname(address.removeprefix("unix:"))
            for node, address in sorted(near.items())
            if node in voting and address.startswith("unix:")
        ]
        if not folders:
            raise ClusterError(
                "failed",
                "A snapshot is saved on the machine of a voter, and none of these daemons is one of this machine.",
                "Run `cortexd snapshot save FILE --data DIR` there, with the voter's own data folder.",
            )
        said = _cortexd("save", str(file), "--data", folders[0])
        if settings().json:
            emit(_inspected(file))
        else:
            say(clean(said.strip()))

    run(work)


@verb()
@_FILE
def inspect(file: Path) -> None:
    """Verify every byte of file F and show what is in it."""
    if settings().json:
        emit(_inspected(file))
        return
    for line in _cortexd("inspect", str(file)).splitlines():
        say(clean(line))


def _inspected(file: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(_cortexd("inspect", str(file), "--json"))
    return {"file": str(file), **document}


def _cortexd(*arguments: str) -> str:
    """What `cortexd snapshot` printed. Raises ClusterError with its cause and remedy."""
    from tui.link.target import daemon_environment
    from tui.machine.local import cortexd

    done = subprocess.run(
        [*cortexd(), "snapshot", *arguments],
        env=daemon_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        message, _, remedy = done.stderr.strip().removeprefix("cortexd: ").partition("\n")
        raise ClusterError("failed", message or f"cortexd ended with status {done.returncode}.", remedy)
    return done.stdout
