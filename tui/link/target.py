"""Which cluster is meant: flags, environment, the context file. The one place in tui that reads the environment."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tui.errors import ClusterError, usage
from tui.link.wire import Target

CLUSTER_FILE = "cluster.json"
SECRET_FILE = "secret"
DAEMON_LOCK = "lock"
MAX_SOCKET_PATH_BYTES = 107
_ADDRESS = re.compile(r"(?:\[[0-9a-fA-F:.]+\]|[A-Za-z0-9_.-]+):(\d{1,5})")


@dataclass(frozen=True)
class Cluster:
    """Where one cluster answers. `key` names it in files on this machine."""

    targets: tuple[Target, ...]
    secret: str
    key: str
    name: str


@dataclass(frozen=True)
class Folders:
    """XDG folders of Cortex for this user."""

    config: Path
    state: Path
    data: Path

    @property
    def context(self) -> Path:
        return self.config / "context.json"

    @property
    def keymap(self) -> Path:
        """Keys of the console."""
        return self.config / "keymap.toml"

    @property
    def console(self) -> Path:
        """How the console behaves."""
        return self.config / "console.toml"


def folders(environ: Mapping[str, str] | None = None) -> Folders:
    environ = os.environ if environ is None else environ
    home = Path(environ.get("HOME") or Path.home())

    def under(name: str, default: str) -> Path:
        # The XDG specification has relative paths ignored.
        chosen = Path(environ.get(name, ""))
        return (chosen if chosen.is_absolute() else home / default) / "cortex"

    return Folders(
        config=under("XDG_CONFIG_HOME", ".config"),
        state=under("XDG_STATE_HOME", ".local/state"),
        data=under("XDG_DATA_HOME", ".local/share"),
    )


def colour_wanted(environ: Mapping[str, str] | None = None) -> bool:
    """False with NO_COLOR or a terminal that has none."""
    environ = os.environ if environ is None else environ
    return not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"


def editor(environ: Mapping[str, str] | None = None) -> list[str]:
    """The command that edits a file: VISUAL, EDITOR, or vi."""
    environ = os.environ if environ is None else environ
    for name in ("VISUAL", "EDITOR"):
        said = environ.get(name, "").strip()
        try:
            words = shlex.split(said)
        except ValueError:
            words = [said]
        if words:
            return words
    return ["vi"]


def daemon_environment(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment for a daemon: without CORTEX_*, which would change what its flags say."""
    environ = os.environ if environ is None else environ
    return {name: value for name, value in environ.items() if not name.startswith("CORTEX_")}


def resolve(data: str | None, cluster: str | None, environ: Mapping[str, str] | None = None) -> Cluster:
    """The cluster that flags, CORTEX_CLUSTER or the context file name, in that order. Raises ClusterError."""
    environ = os.environ if environ is None else environ
    if data and cluster:
        raise usage("--data and --cluster both name a cluster.", "Give one of them.")
    if data:
        return from_folder(Path(data))
    secret_file = environ.get("CORTEX_SECRET_FILE", "")
    addresses = cluster or environ.get("CORTEX_CLUSTER", "")
    if addresses and ":" not in addresses:
        return from_context(addresses, read_context(folders(environ).context))
    if addresses:
        return from_addresses(addresses, secret_file)
    context = read_context(folders(environ).context)
    if context.get("data"):
        return from_folder(Path(str(context["data"])))
    if context.get("cluster"):
        return from_addresses(str(context["cluster"]), secret_file or str(context.get("secret_file") or ""))
    raise usage(
        "No cluster is named.",
        "Start one with `cortex up`, or name one with --data DIR, --cluster or CORTEX_CLUSTER.",
    )


def own_folder(environ: Mapping[str, str] | None = None) -> Path | None:
    """The folder of the cluster that is meant without a flag; None when none is named. Raises ClusterError where it
    is named by addresses.
    """
    environ = os.environ if environ is None else environ
    entry: Mapping[str, Any] = read_context(folders(environ).context)
    named = environ.get("CORTEX_CLUSTER", "")
    if named:
        entry = entry["contexts"][named] if named in context_names(entry) else {"cluster": named}
    if entry.get("data"):
        return Path(str(entry["data"])).expanduser().absolute()
    if entry.get("cluster"):
        raise usage(
            "The default cluster is given by addresses, not by a folder on this machine.",
            "Name the folder with --data.",
        )
    return None


def context_names(context: Mapping[str, Any]) -> list[str]:
    """The clusters that the context file has names for. Raises ClusterError when it is damaged."""
    named = context.get("contexts", {})
    if not isinstance(named, dict) or not all(isinstance(entry, dict) for entry in named.values()):
        raise usage("`contexts` of the context file is not a map of names.", "Write {NAME: {data} or {cluster}}.")
    return list(named)


def from_context(name: str, context: Mapping[str, Any]) -> Cluster:
    """The cluster that the context file has under this name. Raises ClusterError."""
    known = context_names(context)
    if name not in known:
        some = f"It has {', '.join(known)}." if known else "Write HOST:PORT or unix:PATH, separated by commas."
        raise usage(f"{name!r} is neither a daemon's address nor a name in the context file.", some)
    entry = context["contexts"][name]
    if entry.get("data"):
        return replace(from_folder(Path(str(entry["data"]))), name=name)
    secret_file = str(entry.get("secret_file") or "")
    return replace(from_addresses(str(entry.get("cluster") or ""), secret_file), name=name)


def where_of(name: str, context: Mapping[str, Any]) -> str:
    """Folder or addresses of a named cluster."""
    entry = context["contexts"][name]
    return str(entry.get("data") or entry.get("cluster") or "")


def from_folder(folder: Path) -> Cluster:
    """The cluster of `cortex up --data FOLDER`, or the one daemon whose own data folder it is."""
    folder = folder.expanduser().absolute()
    if _is_there(folder / CLUSTER_FILE):
        document = read_cluster_file(folder)
        targets = tuple(_target_of(item) for item in document["nodes"])
        secret = read_secret(folder / SECRET_FILE)
        return Cluster(targets, secret, _key(secret, targets), str(folder))
    if (folder / "cortex.sock").exists():
        targets = (Target(f"unix:{folder / 'cortex.sock'}"),)
        return Cluster(targets, "", _key("", targets), str(folder))
    if (folder / DAEMON_LOCK).exists():
        raise ClusterError(
            "unreachable",
            f"The daemon of {folder} does not run.",
            "Start it, as by `systemctl start cortexd`, or name another one with --cluster.",
        )
    raise no_cluster(folder)


def _is_there(file: Path) -> bool:
    """Whether it exists. Raises ClusterError where its folder must not be looked into."""
    try:
        file.stat()
    except PermissionError:
        raise ClusterError(
            "unreachable",
            f"{file.parent} must not be read by this user.",
            "Run this as the daemon's user, or give --cluster HOST:PORT and CORTEX_SECRET_FILE.",
        ) from None
    except (OSError, ValueError):
        return False
    return True


def no_cluster(folder: Path) -> ClusterError:
    return ClusterError(
        "unreachable",
        f"There is no cluster in {folder}.",
        f"Start one there with `cortex up --data {folder}`, or name another folder.",
    )


def from_addresses(text: str, secret_file: str) -> Cluster:
    """The cluster at comma-separated host:port or unix:PATH addresses."""
    addresses = [part.strip() for part in text.split(",") if part.strip()]
    for address in addresses:
        match = _ADDRESS.fullmatch(address)
        if not address.startswith("unix:") and not (match and 0 < int(match.group(1)) < 65536):
            raise usage(
                f"{address!r} is not a daemon's address.", "Write HOST:PORT or unix:PATH, separated by commas."
            )
    if not addresses:
        raise usage("--cluster is empty.", "Write HOST:PORT or unix:PATH, separated by commas.")
    targets = tuple(Target(address) for address in addresses)
    secret = read_secret(Path(secret_file).expanduser()) if secret_file else ""
    return Cluster(targets, secret, _key(secret, targets), text)


def read_cluster_file(folder: Path) -> dict[str, Any]:
    """The document of FOLDER/cluster.json; every node has id and address. Raises ClusterError."""
    path = folder / CLUSTER_FILE
    try:
        document = json.loads(path.read_text())
    except FileNotFoundError:
        raise no_cluster(folder) from None
    except OSError as error:
        raise ClusterError(
            "unreachable", f"{path} cannot be read: {error.strerror}.", "Check its permissions."
        ) from None
    except ValueError:
        document = None
    try:
        if not document["nodes"] or not all(item["id"] and item["address"] for item in document["nodes"]):
            raise KeyError("nodes")
    except (KeyError, TypeError):
        raise ClusterError(
            "unreachable", f"{path} is damaged.", "Restore it, or start a new cluster in another folder."
        ) from None
    return dict(document)


def read_secret(path: Path) -> str:
    """The cluster's secret. Raises ClusterError."""
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        cause = error.strerror if isinstance(error, OSError) else "it is not text"
        raise ClusterError(
            "unauthenticated", f"The cluster's secret {path} cannot be read: {cause}.", "Name a readable file."
        ) from None


def read_context(path: Path) -> dict[str, Any]:
    """The context file, {} when there is none. Raises ClusterError when it is damaged."""
    try:
        document = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError):
        document = None
    if not isinstance(document, dict):
        raise usage(f"The context file {path} is damaged.", "Correct or remove it.")
    return document


def _target_of(item: Mapping[str, Any]) -> Target:
    socket = str(item.get("socket") or "")
    usable = socket and len(os.fsencode(socket)) <= MAX_SOCKET_PATH_BYTES and os.path.exists(socket)
    return Target(f"unix:{socket}" if usable else str(item["address"]), str(item["id"]))


def _key(secret: str, targets: tuple[Target, ...]) -> str:
    """A name for the cluster: by its secret where known, for addresses may be used again by another cluster."""
    text = secret or ",".join(sorted(target.address for target in targets))
    return hashlib.sha256(b"cortex:" + text.encode()).hexdigest()[:24]
