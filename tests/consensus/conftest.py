"""The etcd that tests of this package share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests import etcd_server
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
