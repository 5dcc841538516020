"""The engines under test, and the etcd that one of them needs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests import etcd_server
from tests.consensus.conformance.kit import Rig
from tests.consensus.conformance.on_memory import MemoryRig
from tests.consensus.conformance.on_raftos import RaftosRig
from tests.etcd_server import EtcdServers


@pytest.fixture(scope="session")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdServers]:
    """One etcd of one member, for all tests of this process: each takes a prefix of its own."""
    if not etcd_server.installed():
        pytest.skip(etcd_server.MISSING)
    servers = EtcdServers(tmp_path_factory.mktemp("etcd"))
    try:
        servers.start()
        yield servers
    finally:
        servers.close()


@pytest.fixture(params=["raftos", "memory", "etcd"])
def rig(request: pytest.FixtureRequest) -> Rig:
    """Each engine in turn."""
    if request.param == "etcd":
        from tests.consensus.conformance.on_etcd import EtcdRig

        return EtcdRig(request.getfixturevalue("etcd"))
    return MemoryRig() if request.param == "memory" else RaftosRig()
