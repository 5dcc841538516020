"""Clusters for a test, ended with it whatever happens."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.harness import Cluster

pytestmark = pytest.mark.e2e


@pytest.fixture
def make_cluster(tmp_path: Path) -> Iterator[Callable[..., Cluster]]:
    made: list[Cluster] = []

    def make(voters: int = 3, **options: object) -> Cluster:
        cluster = Cluster(tmp_path / f"cluster{len(made)}", voters, **options)  # type: ignore[arg-type]
        made.append(cluster)
        cluster.start()
        return cluster

    yield make
    for cluster in made:
        cluster.close()
