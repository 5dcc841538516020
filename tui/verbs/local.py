"""up and down: a cluster on this machine."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tui.drawing.text import clean
from tui.errors import ClusterError, usage
from tui.verbs.base import Interrupted, emit, note, say, settings, verb

if TYPE_CHECKING:
    from tui.machine.local import LocalCluster

CALL_S = 1.0


@verb(short_help="Start a cluster on this machine and open the console.")
@click.option(
    "--voters", metavar="N", type=click.IntRange(1, 9), help="Daemons that vote and keep the log; default 3."
)
@click.option("--workers", metavar="N", type=click.IntRange(0, 90), help="Daemons that only run tasks; default 0.")
@click.option("--headless", is_flag=True, help="Return once the cluster serves, without opening the console.")
@click.option("--no-sample", is_flag=True, help="Do not submit sample work.")
def up(voters: int | None, workers: int | None, headless: bool, no_sample: bool) -> None:
    """Start a cluster on this machine, or restart the one in --data, and open the console.

    Leaving the console leaves the cluster running; `cortex down` stops it. It becomes the default of commands that
    name no cluster, unless they have one that runs.
    """
    from tui.link.target import CLUSTER_FILE

    folder = _folder()
    if settings().cluster:
        raise usage("up starts daemons on this machine.", "Name their folder with --data.")
    if not headless and not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise usage("The console needs a terminal.", "Add --headless.")
    new = not (folder / CLUSTER_FILE).exists()
    cluster = _create(folder, voters, workers) if new else _existing(folder, voters, workers)
    try:
        started = cluster.start()
        asyncio.run(_ready(cluster, sample=new and not no_sample))
        _remember(folder)
    except KeyboardInterrupt:
        raise Interrupted(
            f"Interrupted; what was started in {folder} goes on.", f"End it with `cortex down --data {folder}`."
        ) from None
    _say_started(cluster, started)
    if not headless:
        from tui.verbs.console import open_console

        settings().data, settings().cluster = str(folder), None
        open_console()
        note(f"cortex: the cluster goes on; end it with `cortex down --data {clean(str(folder))}`")


@verb(short_help="Stop the cluster in --data.")
@click.option("--keep-running", is_flag=True, help="Leave commands running; the next `up` adopts them.")
def down(keep_running: bool) -> None:
    """Stop the cluster in --data, within 15 s, with or without a quorum.

    Without --data it is the one that commands without it use, else the default folder of `cortex up`.
    """
    from tui.link.target import own_folder
    from tui.machine.local import DOWN_S, LocalCluster

    if settings().cluster:
        raise usage("down ends daemons of this machine.", "Name their folder with --data.")
    folder = _folder() if settings().data else own_folder() or _folder()
    cluster = LocalCluster.load(folder)
    ended = [node.id for node in cluster.nodes if cluster.runs(node)]
    begun = time.monotonic()
    if ended and not settings().data:
        note(f"cortex: ending the cluster in {clean(str(folder))}")
    try:
        if not keep_running:
            _give_back(cluster)
        within_s = DOWN_S - (time.monotonic() - begun)
        cluster.stop(keep_running=keep_running, say=lambda line: note(f"cortex: {line}"), within_s=within_s)
    except KeyboardInterrupt:
        raise Interrupted(
            f"Interrupted; some of the cluster in {folder} may still run.",
            f"Run `cortex down --data {folder}` again.",
        ) from None
    except PermissionError:
        raise ClusterError(
            "failed", "The daemons belong to another user.", "Run `cortex down` as that user."
        ) from None
    except OSError as error:
        raise ClusterError("failed", f"{folder}: {error.strerror}.", "Free space or permissions there.") from None
    _forget(folder)
    if settings().json:
        emit({"operation_id": None, "index": None, "ids": ended})
    else:
        say(f"ended {', '.join(ended)}" if ended else f"no daemon was running in {clean(str(folder))}")


def _give_back(cluster: LocalCluster) -> None:
    """Has running tasks recorded as migrated, if a leader serves."""
    from tui.link.target import SECRET_FILE, from_addresses
    from tui.machine.local import GIVEN_BACK_S
    from tui.machine.shutdown import give_back

    addresses = [node.address for node in cluster.nodes if node.role == "voter" and cluster.runs(node)]
    if not addresses:
        return
    try:
        target = from_addresses(",".join(addresses), str(cluster.folder / SECRET_FILE))
    except ClusterError:
        return  # without its secret a cluster can only be ended
    given_back = asyncio.run(give_back(target.targets, target.secret, GIVEN_BACK_S))
    count = given_back.tasks + given_back.left if given_back is not None else 0
    if count:
        which = "The task that ran runs" if count == 1 else f"The {count} tasks that ran run"
        note(f"cortex: {which} again after the next `cortex up --data {clean(str(cluster.folder))}`")


def _folder() -> Path:
    """--data, else the default one."""
    from tui.link.target import folders

    chosen = settings().data
    return Path(chosen).expanduser().absolute() if chosen else folders().data / "local"


def _create(folder: Path, voters: int | None, workers: int | None) -> LocalCluster:
    from tui.machine.local import SETTINGS_FILE, LocalCluster, cannot_write

    try:
        others = (each.name != SETTINGS_FILE for each in folder.iterdir()) if folder.is_dir() else [folder.exists()]
        if any(others):
            raise usage(f"{folder} is in use by something else than a cluster.", "Name a new folder with --data.")
    except OSError as error:
        raise cannot_write(folder, error) from None
    return LocalCluster.create(folder, 3 if voters is None else voters, workers or 0)


def _existing(folder: Path, voters: int | None, workers: int | None) -> LocalCluster:
    from tui.machine.local import LocalCluster

    cluster = LocalCluster.load(folder)
    for role, wanted in (("voter", voters), ("worker", workers)):
        there = sum(node.role == role for node in cluster.nodes)
        if wanted is not None and wanted != there:
            raise usage(
                f"The cluster in {folder} has {there} {role}{'s' if there != 1 else ''}, not {wanted}.",
                f"Leave --{role}s out to start it as it is, or name a new folder with --data.",
            )
    return cluster


async def _ready(cluster: LocalCluster, *, sample: bool) -> None:
    """Waits for a leader, submits the sample work, and waits until the nodes can be asked for."""
    from tui.link.client import ClusterClient
    from tui.link.target import SECRET_FILE, from_addresses
    from tui.machine.ready import wait_for_supervisors, wait_until_joined, wait_until_led
    from tui.machine.sample import sample_tasks, sample_workflow

    # By address: the sockets are not there yet, or are left over.
    addresses = ",".join(node.address for node in cluster.nodes if node.role == "voter")
    target = from_addresses(addresses, str(cluster.folder / SECRET_FILE))
    async with ClusterClient(target.targets, target.secret) as client:
        await wait_until_led(cluster, lambda: client.status(timeout_s=CALL_S))
        if sample:
            await client.submit_batch(sample_tasks())
            await client.submit_workflow(sample_workflow())
        late = await wait_until_joined(cluster, client.list_nodes)
        if late:
            note(f"cortex: {', '.join(late)} {'has' if len(late) == 1 else 'have'} not joined yet")
    await wait_for_supervisors(cluster)


def _say_started(cluster: LocalCluster, started: list[str]) -> None:
    from dataclasses import asdict

    if settings().json:
        emit({"data": str(cluster.folder), "started": started, "nodes": [asdict(node) for node in cluster.nodes]})
        return
    folder = clean(str(cluster.folder))
    count = f"{len(cluster.nodes)} node{'s' if len(cluster.nodes) > 1 else ''}"
    again = f"; started again: {', '.join(started)}" if 0 < len(started) < len(cluster.nodes) else ""
    say(f"A cluster of {count} runs in {folder}{again if started else ' already'}.")
    say(f"Use it with `cortex --data {folder}`, end it with `cortex down --data {folder}`.")


def _remember(folder: Path) -> None:
    """Makes the cluster the default of commands without a target, unless the context names one that runs."""
    from tui.link.target import folders, read_context
    from tui.machine.local import LocalCluster, write_private

    path = folders().context
    try:
        known = read_context(path)
        if known.get("cluster") or (known.get("data") and LocalCluster.load(Path(str(known["data"]))).any_runs()):
            return
    except ClusterError:
        # Damaged, or its cluster is gone: this one takes its place.
        pass
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        named = _contexts(path)
        write_private(path, json.dumps({"data": str(folder), **named}) + "\n")
    except OSError:
        # Only a convenience: flags name the cluster too.
        return


def _forget(folder: Path) -> None:
    from tui.link.target import folders, read_context
    from tui.machine.local import write_private

    path = folders().context
    with suppress(ClusterError, OSError):
        if read_context(path).get("data") == str(folder):
            if named := _contexts(path):
                write_private(path, json.dumps(named) + "\n")
            else:
                path.unlink()


def _contexts(path: Path) -> dict[str, Any]:
    """What the file says of named clusters, which the default does not touch."""
    from tui.link.target import read_context

    with suppress(ClusterError):
        return {"contexts": known} if (known := read_context(path).get("contexts")) else {}
    return {}
