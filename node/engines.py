"""Which engine keeps the log: the embedded one, or an external etcd."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from cortex.v1 import raft_pb2
from node.config import RAFTOS, Config
from node.consensus.etcd.settings import MARK, MARK_FOLDER, EtcdSettings
from node.consensus.port import Consensus, Host
from node.consensus.raftos.settings import RaftSettings
from node.core.faults import Code, Fault
from node.env import Env
from node.etcd_url import EtcdUrl
from node.link import Link

if TYPE_CHECKING:
    from node.consensus.etcd.client import EtcdClient


class Engine(Consensus, Protocol):
    """The port, and where messages of other members go."""

    def receive(self, message: raft_pb2.RaftMessage) -> None: ...

    def refused(self, address: str) -> None:
        """Nobody listens at `address` any more: the process that did has ended."""


def load(consensus: str) -> None:
    """Import what this engine needs. Raises ImportError when its library is not installed."""
    if consensus == RAFTOS:
        import node.consensus.raftos.engine
    else:
        import node.consensus.etcd.client  # noqa: F401


def make(config: Config, env: Env, host: Host, cluster_id: str, link: Link) -> Engine:
    """The engine that the configuration names. Raises Fault."""
    if config.consensus != RAFTOS:
        return _make_etcd(config, env, host, cluster_id, link)
    if log_is_in_etcd(config.data):
        message = f"The log of {config.data} is in etcd: a log that is begun here would be another cluster's."
        mark = config.data / MARK_FOLDER
        remedy = f"Start it with --consensus etcd://… as before; if etcd's log never counted, remove {mark}."
        raise Fault(Code.WRONG_STATE, message, remedy)
    from node.consensus.raftos.engine import RaftosEngine

    return RaftosEngine(
        env,
        host,
        id=config.id,
        voters=config.bootstrap,
        cluster_id=cluster_id,
        send=link.send_raft,
        settings=raft_settings(config),
        address=config.listen,
    )


def log_is_in_etcd(data: Path) -> bool:
    """Whether a daemon has followed a log in etcd from this data folder."""
    return (data / MARK_FOLDER / MARK).exists()


def raft_settings(config: Config) -> RaftSettings:
    """Where snapshots come often, little is kept behind them."""
    entries = config.snapshot_entries
    return RaftSettings(snapshot_entries=entries, keep_entries=min(RaftSettings().keep_entries, entries // 10))


def _make_etcd(config: Config, env: Env, host: Host, cluster_id: str, link: Link) -> Engine:
    from node.consensus.etcd.engine import EtcdEngine

    url = EtcdUrl.parse(config.consensus)
    return EtcdEngine(
        env,
        host,
        id=config.id,
        voters=config.bootstrap,
        cluster_id=cluster_id,
        send=link.send_raft,
        etcd=etcd_client(url),
        prefix=url.prefix,
        settings=EtcdSettings(lease_s=url.lease_s),
    )


def etcd_client(url: EtcdUrl) -> EtcdClient:
    """Connects at its first use. Raises Fault when a file that the URL names cannot be read."""
    from node.consensus.etcd.client import EtcdClient, Tls

    tls = Tls(_pem("ca", url.ca), _pem("cert", url.cert), _pem("key", url.key)) if url.tls else None
    return EtcdClient(url.endpoints, tls, EtcdSettings().call_timeout_s)


def _pem(name: str, path: str) -> bytes | None:
    if not path:
        return None
    try:
        return Path(path).read_bytes()
    except OSError as error:
        message = f"Setting consensus cannot be used: its {name} file {path} cannot be read: {error.strerror}."
        raise Fault(Code.INVALID, message, "Name a readable PEM file.") from None
