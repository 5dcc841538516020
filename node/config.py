"""One frozen Config from defaults, file, environment and flags, in that order: the only reader of os.environ."""

from __future__ import annotations

import ipaddress
import json
import os
import re
import socket
import tomllib
from collections.abc import Mapping, MutableMapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from node.core.faults import Code, Fault
from node.etcd_url import EtcdUrl

_ID = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
_DURATION = re.compile(r"^(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?$")
# What sockaddr_un holds beside the closing zero.
_SOCKET_PATH_BYTES = 107
_DURATION_LIMIT_MS = 7 * 86_400_000
_KEEP_LIMIT_MS = 3650 * 86_400_000
RAFTOS = "raftos"
SLOTS_LIMIT = 100_000
WORD_LIMIT_CHARS = 200
WORDS_LIMIT = 80
# As users write them in `slots`.
TASK_TYPES = ("shell", "container", "subagent", "k8s_job", "claude_relay", "service", "python", "noop")


@dataclass(frozen=True, slots=True)
class Config:
    """Everything that concerns this machine. Durations in milliseconds."""

    id: str
    data: Path
    listen: str
    voters: Mapping[str, str] = field(default_factory=dict)
    join: tuple[str, ...] = ()
    worker: bool = False
    slots: Mapping[str, int] = field(default_factory=dict)  # by task type, where it is not the default
    labels: tuple[str, ...] = ()
    capabilities: tuple[str, ...] = ()
    games: tuple[str, ...] = ()  # further process names that mean a game
    executors: tuple[str, ...] = ()  # by name; none = all that are installed
    executor: Mapping[str, Mapping[str, object]] = field(default_factory=dict)  # settings of each, by its name
    roots: tuple[Path, ...] = ()  # folders that working directories of tasks may be in; none = any
    secret_file: Path | None = None
    consensus: str = RAFTOS  # or etcd://…, see etcd_url
    log_level: str = "info"
    lease_ms: int = 30_000
    renew_ms: int = 10_000
    lease_margin_ms: int = 5_000
    heartbeat_ms: int = 5_000
    offline_ms: int = 15_000
    snapshot_entries: int = 100_000  # of the log, after which a snapshot is taken
    failpoints: str = ""  # for tests: see failpoints.py
    output_limit_bytes: int = 64 * 1024 * 1024
    output_keep_ms: int = 7 * 86_400_000
    output_keep_bytes: int = 10 * 10**9
    output_keep_task_bytes: int = 10**9

    @property
    def is_voter(self) -> bool:
        """Whether it begins the cluster. Later the log says who votes."""
        return self.id in self.voters

    @property
    def keeps_log(self) -> bool:
        """Whether it has what a voter needs: one that only joins stands by until somebody adds it."""
        return not self.worker

    @property
    def bootstrap(self) -> Mapping[str, str]:
        """The voters of a log that is empty, by id; none on a daemon that joins."""
        return self.voters if self.is_voter else {}

    @property
    def secret_path(self) -> Path:
        return self.secret_file or self.data / "secret"

    @property
    def socket_path(self) -> Path:
        return self.data / "cortex.sock"

    def document(self) -> str:
        """JSON of all values, for `cortexd config`."""
        return json.dumps(asdict(self), indent=2, default=str)


def load(flags: Mapping[str, object], environ: Mapping[str, str] | None = None) -> Config:
    """Merge the sources and check them. Raises Fault that names the value, where it came from and the remedy."""
    environ = os.environ if environ is None else environ
    values: dict[str, object] = {}
    path = flags.get("config") or environ.get("CORTEX_CONFIG")
    if path:
        values.update(_read_file(Path(str(path))))
    for item in fields(Config):
        text = environ.get(f"CORTEX_{item.name.upper()}")
        if text is not None:
            values[item.name] = text
    values.update(
        {name: value for name, value in flags.items() if name != "config" and value not in (None, (), False)}
    )
    return _check(values)


def secret_file(environ: Mapping[str, str] | None = None) -> Path | None:
    """The secret's file that the environment names."""
    environ = os.environ if environ is None else environ
    named = environ.get("CORTEX_SECRET_FILE")
    return Path(named) if named else None


def quiet_grpc(environ: MutableMapping[str, str] | None = None) -> None:
    """Keeps gRPC, which is yet to be imported, from writing lines of its own between ours."""
    environ = os.environ if environ is None else environ
    environ.setdefault("GRPC_VERBOSITY", "NONE")


def command_environment(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """What commands inherit: where to find programs, who they are, how text is encoded. Nothing else."""
    environ = os.environ if environ is None else environ
    kept = ("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "TZ")
    return {name: environ[name] for name in kept if name in environ}


def executor_environment(environ: Mapping[str, str] | None = None) -> dict[str, dict[str, object]]:
    """Settings of executors that variables of others stand for, by executor; the daemon's file goes before."""
    environ = os.environ if environ is None else environ
    found: dict[str, object] = {}
    if environ.get("KUBECONFIG"):
        found["kubeconfig"] = environ["KUBECONFIG"]
    if environ.get("KUBERNETES_SERVICE_HOST"):
        host = environ["KUBERNETES_SERVICE_HOST"]
        host = f"[{host}]" if ":" in host else host
        found["in_cluster"] = f"{host}:{environ.get('KUBERNETES_SERVICE_PORT') or 443}"
    return {"k8s_job": found} if found else {}


def _read_file(path: Path) -> dict[str, object]:
    try:
        document = tomllib.loads(path.read_text())
    except OSError as error:
        raise _bad("config", str(path), error.strerror or str(error), "Name a readable TOML file.") from None
    except tomllib.TOMLDecodeError as error:
        raise _bad("config", str(path), str(error), "Correct that line of the file.") from None
    unknown = sorted(set(document) - {item.name for item in fields(Config)})
    if unknown:
        known = ", ".join(item.name for item in fields(Config))
        raise _bad("config", str(path), f"it has an unknown key {unknown[0]!r}", f"Known keys: {known}.")
    return document


def _check(values: dict[str, object]) -> Config:
    missing = [name for name in ("id", "data", "listen") if not values.get(name)]
    if missing:
        flag = missing[0]
        raise _bad(flag, "", "it is not given", f"Give --{flag} or CORTEX_{flag.upper()}.")
    made: dict[str, Any] = {
        item.name: _convert(item.name, values[item.name]) for item in fields(Config) if item.name in values
    }
    config = Config(**made)
    if not _ID.match(config.id):
        raise _bad(
            "id", config.id, "only letters, digits, '.', '_', '-' are allowed, 64 at most", "Choose another id."
        )
    too_long = len(os.fsencode(config.socket_path)) - _SOCKET_PATH_BYTES
    if too_long > 0:
        why = f"its path is {too_long} bytes too long for the unix socket in it"
        raise _bad("data", str(config.data), why, "Name a shorter folder.")
    _check_address("listen", config.listen)
    if not _is_loopback(config.listen):
        remedy = "Listen on 127.0.0.1, or put the machines on a tunnel that ends on loopback."
        raise _bad(
            "listen", config.listen, "beyond loopback mutual TLS is needed, which this release lacks", remedy
        )
    for address in (*config.voters.values(), *config.join):
        _check_address("voters" if address in config.voters.values() else "join", address)
    if not config.voters and not config.join:
        raise _bad(
            "voters",
            "",
            "neither --voters nor --join is given",
            "Give --voters id=host:port,… or --join host:port.",
        )
    if config.voters and not config.join and not config.is_voter:
        raise _bad("id", config.id, "it is not among --voters", "Add it there, or give --join instead.")
    if config.is_voter and config.worker:
        raise _bad("worker", "", "it is among --voters, which vote", "Leave --worker out, or give --join instead.")
    if config.is_voter and config.voters[config.id] != config.listen:
        raise _bad("listen", config.listen, f"--voters says {config.voters[config.id]}", "Make the two equal.")
    if config.consensus != RAFTOS:
        try:
            EtcdUrl.parse(config.consensus)
        except ValueError as error:
            remedy = "Write raftos, or etcd://host:2379,host:2379?prefix=/cortex/."
            raise _bad("consensus", config.consensus, str(error), remedy) from None
    if config.renew_ms * 2 > config.lease_ms:
        raise _bad(
            "renew_ms",
            str(config.renew_ms),
            "a lease must outlast two renewals",
            "Make it half of lease_ms or less.",
        )
    return config


def _convert(name: str, value: object) -> object:
    if name in ("data", "secret_file"):
        return Path(str(value)).expanduser().absolute()
    if name == "voters":
        return _parse_voters(
            ",".join(f"{voter}={address}" for voter, address in value.items())
            if isinstance(value, dict)
            else str(value)
        )
    if name == "slots":
        return _parse_slots(value)
    if name == "executor":
        return _sections(name, value)
    if name == "roots":
        return _folders(name, value)
    if name in ("join", "labels", "capabilities", "games", "executors"):
        parts = value.split(",") if isinstance(value, str) else [str(part) for part in _sequence(value)]
        if len(parts) > WORDS_LIMIT:
            raise _bad(name, "", f"it has {len(parts)} items, the limit is {WORDS_LIMIT}", "Name fewer.")
        return tuple(parts) if name == "join" else tuple(_word(name, part) for part in parts)
    if name == "worker":
        return value if isinstance(value, bool) else str(value).lower() in ("1", "true", "yes")
    if name.endswith("_ms"):
        return _duration_ms(name, value)
    if name == "snapshot_entries":
        return _number(name, value, 10_000_000, low=10)
    if name in ("output_limit_bytes", "output_keep_bytes", "output_keep_task_bytes"):
        return _number(name, value, 1 << 40)
    return str(value)


def _folders(name: str, value: object) -> tuple[Path, ...]:
    """A list, or paths with commas between."""
    parts = value.split(",") if isinstance(value, str) else [str(part) for part in _sequence(value)]
    folders = tuple(Path(part.strip()).expanduser() for part in parts)
    for folder in folders:
        if not folder.is_absolute():
            raise _bad(name, str(folder), "it is not absolute", "Write it as /srv/projects.")
    return folders


def _sections(name: str, value: object) -> dict[str, dict[str, object]]:
    """Tables of the file, or JSON as text."""
    if isinstance(value, str):
        text = value
        try:
            value = json.loads(text)
        except ValueError:
            raise _bad(
                name, text[:200], "it is not valid JSON", 'Write {"container": {"engine": "podman"}}.'
            ) from None
    if not isinstance(value, dict) or not all(isinstance(section, dict) for section in value.values()):
        raise _bad(name, "", "it is no table of tables", 'Write [executor.container] and engine = "podman" below.')
    return {str(key): dict(section) for key, section in value.items()}


def _number(name: str, value: object, high: int, low: int = 0) -> int:
    try:
        number = int(str(value))
    except ValueError:
        raise _bad(name, str(value), "it is not a whole number", "Give a number such as 4.") from None
    if not low <= number <= high:
        raise _bad(name, str(value), "it is out of range", f"Give a number from {low} to {high}.")
    return number


def _parse_slots(value: object) -> dict[str, int]:
    """`8`, `8,noop=3`, or a table: a bare number is of shell tasks, and 0 its default."""
    if isinstance(value, dict):
        parts = [f"{kind}={count}" for kind, count in value.items()]
    else:
        parts = [part for item in _sequence(value) for part in str(item).split(",")]
    slots: dict[str, int] = {}
    for part in parts:
        kind, equals, count = part.rpartition("=")
        kind = kind.strip().lower().replace("-", "_") if equals else "shell"
        number = _number("slots", count.strip(), SLOTS_LIMIT)
        if kind not in TASK_TYPES:
            raise _bad("slots", part, "there is no such task type", f"Types are {', '.join(TASK_TYPES)}.")
        if kind in slots:
            raise _bad("slots", part, f"{kind} is given twice", "Give each type once.")
        if equals or number:
            slots[kind] = number
    return slots


def _word(name: str, text: str) -> str:
    """A label or capability."""
    text = text.strip()
    if not text or len(text) > WORD_LIMIT_CHARS or not text.isprintable():
        why = f"it must be 1 to {WORD_LIMIT_CHARS} printable characters"
        raise _bad(name, text[:WORD_LIMIT_CHARS], why, "Write it as gpu, zone=eu or docker.")
    return text


def _sequence(value: object) -> list[object]:
    return list(value) if isinstance(value, list | tuple) else [value]


def _parse_voters(text: str) -> dict[str, str]:
    voters: dict[str, str] = {}
    for part in text.split(","):
        voter, equals, address = part.partition("=")
        if not equals or not _ID.match(voter) or voter in voters:
            raise _bad(
                "voters", part, "it must be id=host:port, each id once", "Write --voters n1=127.0.0.1:7001,n2=…."
            )
        voters[voter] = address
    return voters


def _duration_ms(name: str, value: object) -> int:
    text = str(value)
    match = _DURATION.match(text)
    if text.isdecimal():
        milliseconds = int(text[:20])
    elif text and match is not None:
        hours, minutes, seconds, millis = (float(part or 0) for part in match.groups())
        milliseconds = int(hours * 3_600_000 + minutes * 60_000 + seconds * 1000 + millis)
    else:
        raise _bad(name, text, "it is not a duration", "Write 500ms, 30s or 1m30s.")
    limit_ms = _KEEP_LIMIT_MS if name == "output_keep_ms" else _DURATION_LIMIT_MS
    if not 0 < milliseconds <= limit_ms:
        days = limit_ms // 86_400_000
        raise _bad(name, text, f"it is not between 1 ms and {days} days", "Write 500ms, 30s or 1m30s.")
    return milliseconds


def _is_loopback(address: str) -> bool:
    host = address.rpartition(":")[0].strip("[]")
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _check_address(name: str, address: str) -> None:
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise _bad(name, address, "it is not host:port", "Write it as 127.0.0.1:7001.")


def _bad(name: str, value: str, why: str, remedy: str) -> Fault:
    shown = f" {value!r}" if value else ""
    return Fault(Code.INVALID, f"Setting {name}{shown} cannot be used: {why}.", remedy)


def hostname() -> str:
    return socket.gethostname()
