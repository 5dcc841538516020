"""`cortexd snapshot`, `recover` and `repair`."""

from __future__ import annotations

import fcntl
import json
import os
import shlex
from pathlib import Path

import click

from cortex.v1 import raft_pb2
from node import config
from node.config import load, quiet_grpc
from node.consensus.membership import Membership
from node.core.faults import Code, Fault
from node.engines import log_is_in_etcd
from node.env import Env
from node.libraries import missing
from node.lock import only_one
from node.recovery import backup, lost, mend, words
from node.recovery.examine import examined
from node.secret import cluster_id_of, read_secret

_DATA = click.option("--data", required=True, type=click.Path(path_type=Path), help="Data folder of the node.")
_SECRET = click.option(
    "--secret-file",
    type=click.Path(path_type=Path),
    help="File with the cluster's secret; default: DATA/secret, or that of `cortex up`.",
)
_YES = click.option("--yes", is_flag=True, help="Do not ask.")


@click.group()
def snapshot() -> None:
    """Save, inspect and restore a copy of the state."""


@snapshot.command()
@click.argument("file", type=click.Path(path_type=Path))
@_DATA
@_SECRET
def save(file: Path, data: Path, secret_file: Path | None) -> None:
    """Save the state to a new FILE.

    The daemon of the folder may be running or stopped.
    """
    if _is_running(data):
        # gRPC takes a while to load, which the other commands need not wait for.
        from node.recovery.live import save_running

        meta = save_running(data / "cortex.sock", file)
    else:
        cluster_id = cluster_id_of(_secret(data, secret_file))
        _check_own_log(data, "Save from a daemon that runs: start this one, or name the folder of another.")
        with only_one(data):
            meta = backup.save_stopped(data, cluster_id, file)
    click.echo(f"{file}: entry {meta.index} of {words.moment(meta.at_us)}, {words.size(meta.size_bytes)}, verified")


@snapshot.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def inspect(file: Path, as_json: bool) -> None:
    """Verify FILE and show what is in it."""
    content = backup.inspect(file)
    meta = content.meta
    if as_json:
        click.echo(json.dumps({**_document(meta), "rows": content.rows, "tasks": content.tasks}, indent=2))
        return
    tasks = ", ".join(f"{count} {state}" for state, count in content.tasks.items()) or "none"
    lines = {
        "entry": f"{meta.index} (term {meta.term}), of {words.moment(meta.at_us)}",
        "recovery": str(meta.recovery_epoch),
        "cluster": meta.cluster_id,
        "members": words.members(_membership(meta)),
        "size": words.size(meta.size_bytes),
        "sha256": meta.sha256.hex(),
        "level": str(meta.level),
        "verified": "length, hash, structure, and the digest over all rows",
        "tasks": tasks,
        "rows": ", ".join(f"{count} {kind}" for kind, count in content.rows.items() if kind != "tasks"),
    }
    for name, value in lines.items():
        click.echo(f"{name:<10} {value}")


@snapshot.command()
@click.argument("file", type=click.Path(path_type=Path))
@_DATA
@click.option("--id", "node_id", required=True, help="Id of the node that goes on alone.")
@click.option("--listen", required=True, metavar="HOST:PORT", help="Its address.")
@_SECRET
def restore(file: Path, data: Path, node_id: str, listen: str, secret_file: Path | None) -> None:
    """Make a new data folder from FILE.

    One node begins with it as the only voter; others are added to it.
    """
    _check_node(node_id, data, listen)
    found = _secret_file(data, secret_file)
    cluster_id = cluster_id_of(read_secret(found))
    with only_one(data):
        meta = backup.restore(file, data, cluster_id, node_id, listen)
    click.echo(f"{data}: goes on at entry {meta.index}, recovery {meta.recovery_epoch}, with {node_id} alone.")
    click.echo(_begin(node_id, data, listen, found))


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--to", required=True, metavar="etcd://…", help="The external etcd, as --consensus takes it.")
@click.option(
    "--secret-file", required=True, type=click.Path(path_type=Path), help="File with the cluster's secret."
)
@_YES
def migrate(file: Path, to: str, secret_file: Path, yes: bool) -> None:
    """Move the state in FILE into an external etcd.

    FILE is a snapshot. All daemons go on from etcd afterwards.
    """
    from node import engines
    from node.recovery import migrate as migration

    plan = migration.planned(file, to, cluster_id_of(read_secret(secret_file)))
    quiet_grpc()
    try:
        engines.load(to)
    except ImportError as error:
        raise missing(error) from None
    for line in plan.lines():
        click.echo(line)
    _confirm("migrate", yes=yes)
    meta = migration.carry_out(plan)
    click.echo(f"Done: it goes on at entry {meta.index}, recovery {meta.recovery_epoch}.")
    click.echo(f"Start every daemon as before, with its folder, and with --consensus '{to}'")


@click.command()
@_DATA
@click.option("--id", "node_id", required=True, help="Id of this folder's node, the only voter from now on.")
@click.option("--listen", default="", metavar="HOST:PORT", help="Its address, if it is another one now.")
@_SECRET
@_YES
def recover(data: Path, node_id: str, listen: str, secret_file: Path | None, yes: bool) -> None:
    """Go on from this disk after a majority is lost for good.

    Says what may be lost, and asks before it changes anything.
    """
    if listen:
        _check_node(node_id, data, listen)
    cluster_id = cluster_id_of(_secret(data, secret_file))
    _check_own_log(data, "Restore etcd from its backup, or `cortexd migrate` a snapshot to an empty prefix.")
    with only_one(data), lost.planned(data, cluster_id, node_id, listen) as plan:
        for line in plan.lines():
            click.echo(line)
        _confirm(node_id, yes=yes)
        meta = lost.carry_out(plan)
        click.echo(f"Done: {node_id} goes on at entry {meta.index}, recovery {meta.recovery_epoch}.")
        click.echo(_begin(node_id, data, plan.member.address, _secret_file(data, secret_file)))


@click.command()
@_DATA
@click.option("--id", "node_id", required=True, help="Id of this folder's node.")
@click.option("--join", default="", metavar="HOST:PORT", help="A daemon of the cluster that runs.")
@_SECRET
@_YES
def repair(data: Path, node_id: str, join: str, secret_file: Path | None, yes: bool) -> None:
    """Find damage in a stopped node's folder, and repair it.

    Without --join it only reports; a broken snapshot it rewrites from sound rows, after asking.
    """
    secret = _secret(data, secret_file)
    cluster_id = cluster_id_of(secret)
    _check_own_log(
        data, "Move the folder's contents but for `secret` away and start the daemon: it gets all from etcd."
    )
    with only_one(data):
        with examined(data, cluster_id) as found:
            for line in mend.lines(data, found):
                click.echo(line)
            way = mend.mend_of(found)
            if way is mend.Mend.SNAPSHOT:
                _confirm(node_id, yes=yes)
                backup.make_snapshot(data, found, cluster_id)
                click.echo("Done: start the node.")
        if way is mend.Mend.ROWS:
            _confirm(node_id, yes=yes)
            mend.put_rows_aside(data)
            click.echo("Done: start the node.")
        elif way is mend.Mend.JOIN_ANEW:
            _join_anew(data, node_id, join, secret, yes=yes)


def _join_anew(data: Path, node_id: str, join: str, secret: str, *, yes: bool) -> None:
    if not join:
        raise Fault(
            Code.INVALID,
            "The node must leave the voters before its folder is emptied.",
            "Name a daemon of the cluster that runs with --join.",
        )
    _confirm(node_id, yes=yes)
    from node.recovery.live import remove_voter

    # A voter that forgot what it promised must not vote: it leaves before its folder is emptied.
    remove_voter(join, secret, node_id, Env.real(data).new_id())
    aside = mend.put_log_aside(data)
    click.echo(f"Done: {node_id} is no voter any more; what it had is in {aside}.")
    click.echo(f"Start it with --join {join} in the place of --voters, then: cortex voters add {node_id}")


def _confirm(node_id: str, *, yes: bool) -> None:
    """Raises Fault unless the operator types the node's id."""
    if yes:
        return
    typed = click.prompt(f"Type {node_id} to go on", default="", show_default=False)
    if typed.strip() != node_id:
        raise Fault(Code.INVALID, "Nothing was changed.", f"Type {node_id} to go on, or give --yes.")


def _begin(node_id: str, data: Path, address: str, secret_file: Path) -> str:
    words = ["cortexd", "run", "--id", node_id, "--data", str(data), "--listen", address]
    words += ["--voters", f"{node_id}={address}"]
    if secret_file != data / "secret":
        words += ["--secret-file", str(secret_file)]
    return f"Start it: {shlex.join(words)}"


def _check_node(node_id: str, data: Path, listen: str) -> None:
    """Raises Fault where a daemon would not start with these."""
    flags = {"id": node_id, "data": str(data), "listen": listen, "voters": f"{node_id}={listen}"}
    load(flags, {})


def _secret(data: Path, secret_file: Path | None) -> str:
    if not data.is_dir():
        raise Fault(Code.NOT_FOUND, f"There is no folder {data}.", "Name the data folder of a node with --data.")
    return read_secret(_secret_file(data, secret_file))


def _secret_file(data: Path, named: Path | None) -> Path:
    """As the daemon finds it; those of `cortex up` have one together, beside their folders."""
    own, shared = data / "secret", data.absolute().parent / "secret"
    default = shared if not own.exists() and (shared.parent / "cluster.json").exists() else own
    return named or config.secret_file() or default


def _check_own_log(data: Path, remedy: str) -> None:
    """Raises Fault where the log is in etcd, and the folder has a copy of the state alone."""
    if log_is_in_etcd(data):
        raise Fault(
            Code.WRONG_STATE, f"The log of {data} is in etcd; the folder has a copy of the state alone.", remedy
        )


def _is_running(data: Path) -> bool:
    """Whether a daemon holds the lock of the folder."""
    try:
        handle = os.open(data / "lock", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(handle)
    return False


def _membership(meta: raft_pb2.SnapshotMeta) -> Membership:
    return Membership.decode(meta.membership) if meta.membership else Membership()


def _document(meta: raft_pb2.SnapshotMeta) -> dict[str, object]:
    return {
        "index": meta.index,
        "term": meta.term,
        "at_us": meta.at_us,
        "recovery_epoch": meta.recovery_epoch,
        "cluster_id": meta.cluster_id,
        "members": [
            {"id": member.id, "address": member.address, "voter": member.voter}
            for member in _membership(meta).members
        ],
        "size_bytes": meta.size_bytes,
        "sha256": meta.sha256.hex(),
        "level": meta.level,
        "verified": True,
    }
