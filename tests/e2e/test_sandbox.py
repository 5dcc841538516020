"""Sandbox levels through the command line: a task in one, and one that waits for a level that is not offered."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.e2e.harness import Cluster
from tests.e2e.refusals import until
from tests.node.sandbox_kit import forget_groups, needs_sandbox

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    made = Cluster(tmp_path_factory.mktemp("c"), voters=1)
    made.start()
    until(lambda: made.cortex("status").returncode == 0)
    yield made
    made.close()
    for node in made.nodes.values():
        forget_groups(node.data)


@needs_sandbox
def test_a_task_at_level_strict(cluster: Cluster) -> None:
    data = next(iter(cluster.nodes.values())).data
    script = f"grep -c : /proc/net/dev; cat {data}/secret {data.parent}/secret 2>/dev/null; pwd > made; echo over"
    done = cluster.cortex("submit", "--sandbox", "strict", "--wait", "--", "sh", "-c", script)
    assert (done.returncode, done.stdout.split()) == (0, [b"1", b"over"]), done.stderr
    (task,) = json.loads(cluster.cortex("tasks", "--json", "--limit", "1").stdout)["tasks"]
    shown = json.loads(cluster.cortex("task", task["id"], "--json").stdout)
    assert shown["result"]["usage"]["max_rss_bytes"] > 0
    assert {"read_bytes", "written_bytes"} <= set(shown["result"]["usage"])
    own = data / "work" / "1"
    assert (own / "made").read_text() == f"{own}\n"


def test_a_level_that_no_node_offers_is_waited_for(tmp_path_factory: pytest.TempPathFactory) -> None:
    environment = {"CORTEX_EXECUTOR": '{"shell": {"bwrap": "/nowhere/bwrap"}}'}
    made = Cluster(tmp_path_factory.mktemp("c"), voters=1, environment=environment)
    try:
        made.start()
        until(lambda: made.cortex("status").returncode == 0)
        assert made.cortex("settings", "set", "sandbox", "default").returncode == 0
        done = made.cortex("submit", "--json", "--", "true")
        task = json.loads(done.stdout)["id"]
        until(lambda: b"sandbox level default not offered" in made.cortex("why", task).stdout)
        said = made.cortex("why", task).stdout.decode()
        assert "Bubblewrap (bwrap) is not installed" in said
        assert json.loads(made.cortex("task", task, "--json").stdout)["state"] == "queued"
    finally:
        made.close()
