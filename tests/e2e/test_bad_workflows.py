"""What is wrong with a workflow is told when it is submitted, by cause and remedy, and nothing of it is kept."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.harness import Cluster
from tests.e2e.refusals import refused, until
from tests.e2e.test_bad_input import total

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    made = Cluster(tmp_path_factory.mktemp("c"), voters=1)
    made.start()
    until(lambda: made.cortex("status").returncode == 0)
    yield made
    made.close()


@pytest.mark.parametrize("option", [(), ("--dry-run",)])
def test_a_condition_that_cannot_be_read_is_refused_at_submission(
    cluster: Cluster, tmp_path: Path, option: tuple[str, ...]
) -> None:
    before = total(cluster)
    file = tmp_path / "flow.yaml"
    condition = "parent.build.exitCode === 0 &&\n    = 1"
    tasks = {
        "build": {"command": "true"},
        "ship": {"command": "true", "depends_on": ["build"], "condition": condition},
    }
    file.write_text(json.dumps({"name": "flow", "tasks": tasks}))
    done = cluster.cortex("workflow", "submit", *option, str(file))
    cause, remedy = refused(done)
    assert done.returncode == 1
    assert cause.startswith("Task 'ship': condition is no JavaScript expression: ")
    assert cause.endswith(" at line 2, column 5.")
    assert "parent.build.exitCode === 0" in remedy
    assert total(cluster) == before
