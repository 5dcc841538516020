"""The engines under test."""

from __future__ import annotations

import pytest

from tests.consensus.conformance.kit import Rig
from tests.consensus.conformance.on_memory import MemoryRig
from tests.consensus.conformance.on_model import ModelRig
from tests.consensus.conformance.on_raftos import RaftosRig


@pytest.fixture(params=["raftos", "memory", "etcd-model", "etcd"])
def rig(request: pytest.FixtureRequest) -> Rig:
    """Each engine in turn."""
    if request.param == "etcd":
        servers = request.getfixturevalue("etcd")
        # Only now, for this needs the library of an optional engine.
        from tests.consensus.conformance.on_etcd import EtcdRig

        return EtcdRig(servers)
    if request.param == "etcd-model":
        return ModelRig()
    return MemoryRig() if request.param == "memory" else RaftosRig()
