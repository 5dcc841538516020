"""Where tasks go and why, on real daemons: capabilities, limits, profiles, reasons now and afterwards."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cortex.v1 import cluster_pb2, types_pb2
from tests.e2e.harness import Cluster, eventually, state_name

pytestmark = pytest.mark.e2e
MakeCluster = Callable[..., Cluster]


def document(cluster: Cluster, *words: str) -> Any:
    done = cluster.cortex("--json", *words)
    assert done.returncode == 0, (done.stderr, cluster.logs())
    return json.loads(done.stdout)


async def test_what_nodes_declare_and_tasks_ask_for(make_cluster: MakeCluster, tmp_path: Path) -> None:
    offered = {"CORTEX_EXECUTORS": "shell,noop", "CORTEX_SLOTS": "2,noop=3"}
    cluster = make_cluster(voters=1, environment={**offered, "CORTEX_CAPABILITIES": "docker,avx"})
    async with cluster.client() as client:
        await cluster.whole(client)
        (view,) = (await client.list_nodes()).nodes
        declared = set(view.node.capabilities)
        assert {"docker", "avx", "type:shell", "type:noop"} <= declared
        assert any(one.startswith("os:") for one in declared)
        assert {offer.type: offer.count for offer in view.node.slots} == {1: 2, 8: 3}

        done = document(
            cluster, "submit", "--wait", "--capability", "docker", "--prefer-capability", "avx", "--", "true"
        )
        assert done["placement"]["terms"]["preferred"] == 5.0

        file = tmp_path / "tasks.yaml"
        file.write_text("- {command: 'true', capabilities: [kvm, docker], priority: P1, limit: k=1, locks: [db]}\n")
        (waits,) = document(cluster, "submit", "--file", str(file))["ids"]

        async def reason() -> str:
            tasks = document(cluster, "tasks", "--state", "queued")["tasks"]
            return "".join(str(task["reason"] or "") for task in tasks if task["id"] == waits)

        assert await eventually(reason) == "capability kvm missing"
        (verdict,) = document(cluster, "why", waits)["nodes"]
        assert (verdict["reason"], verdict["flip"]) == ("capability kvm missing", "give n1 the capability kvm")
        row = (await client.get_task(waits)).task
        assert (row.priority, row.spec.limit_key, row.spec.limit_count) == (5, "k", 1)
        table = cluster.cortex("tasks", "--state", "queued").stdout.decode()
        assert "WHY" in table
        assert "capability kvm missing" in table


async def test_a_placed_task_is_judged_as_it_was(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(voters=1, environment={"CORTEX_SLOTS": "1"})
    async with cluster.client() as client:
        await cluster.whole(client)

        async def sampled() -> str:
            return "yes" if (await client.list_nodes()).nodes[0].scored else ""

        await eventually(sampled)
        done = document(cluster, "submit", "--wait", "--mem", "1", "--", "true")
        cluster.cortex("cordon", "n1")
        now = document(cluster, "why", done["id"])
        assert now["past"]
        assert now["index"] == done["fence"]
        (verdict,) = now["nodes"]
        assert verdict["verdict"] == "eligible"
        assert verdict["score"] == done["placement"]["score"]
        assert now["note"] is None

        waiting = document(cluster, "submit", "--", "true")["id"]
        (verdict,) = document(cluster, "why", waiting)["nodes"]
        assert verdict["reason"] == "cordoned"
        index = document(cluster, "status")["index"]
        cluster.cortex("uncordon", "n1")

        async def ended() -> str:
            return "yes" if state_name((await client.get_task(waiting)).task) == "completed" else ""

        await eventually(ended)
        then = document(cluster, "why", waiting, "--at", str(index))
        assert (then["past"], then["index"], then["state"]) == (True, index, "queued")
        assert then["nodes"][0]["reason"] == "cordoned"
        text = cluster.cortex("why", waiting).stdout.decode()
        assert "placed on n1 at index" in text


async def test_a_dry_run_says_where_each_type_would_go(make_cluster: MakeCluster) -> None:
    nobody = '{"subagent": {"command": "no-such-agent"}}'
    cluster = make_cluster(voters=1, environment={"CORTEX_EXECUTOR": nobody})
    async with cluster.client() as client:
        await cluster.whole(client)
        before = (await client.list_tasks()).total
        for words, reason in (
            (("--type", "noop"), None),
            (("--", "true"), None),
            (("--on", "nowhere", "--", "true"), "target_node is nowhere"),
            (("--label", "x", "--", "true"), "label x missing"),
        ):
            (verdict,) = document(cluster, "submit", "--dry-run", *words)["nodes"]
            assert verdict["reason"] == reason
            assert verdict["verdict"] == ("ineligible" if reason else "eligible")
        agent = cluster_pb2.TaskRequest()
        agent.spec.type, agent.spec.payload = types_pb2.TASK_TYPE_SUBAGENT, b'{"prompt": "look around"}'
        (verdict,) = (await client.submit(agent, dry_run=True)).verdicts
        assert verdict.reason.startswith("runs no subagent tasks: ")
        assert verdict.flip.startswith("on n1: ")
        assert (await client.list_tasks()).total == before


async def test_the_second_profile_and_its_shorter_queue(make_cluster: MakeCluster, tmp_path: Path) -> None:
    cluster = make_cluster(voters=1)
    async with cluster.client() as client:
        await cluster.whole(client)
        set_profile = cluster.cortex("settings", "set", "profile", "orchestrator")
        assert set_profile.returncode == 0, set_profile.stderr
        done = document(cluster, "submit", "--wait", "--priority", "P0", "--", "true")
        terms = done["placement"]["terms"]
        assert done["placement"]["score"] == sum(terms.values())
        assert (terms["priority"], terms["capability"]) == (50.0, 30.0)
        chosen = "priority=0.2,capability=0.3,load=0.45,fairness=0.05"
        whole = "priority=0.20,capability=0.30,load=0.45,fairness=0.05"
        for wrong, says in (
            ("priority=1", b"capability, load, fairness missing."),
            (chosen.replace("0.45", "0.44"), b"must sum to exactly 1: these sum to 0.99."),
            ("cpu=0.3,memory=0.3,disk=0.15,network=0.1,gpu=0.15", b"profile orchestrator has priority, "),
        ):
            refused = cluster.cortex("settings", "set", "weights", wrong)
            assert refused.returncode == 1
            assert says in refused.stderr
        before = document(cluster, "settings", "get", "weights")
        assert before["value"] == before["default"] == "default"
        assert cluster.cortex("settings", "set", "weights", chosen).returncode == 0
        assert document(cluster, "settings", "get", "weights")["value"] == whole
        then = document(cluster, "settings", "get", "weights", "--at", str(before["index"]))
        assert then["value"] == "default"
        (verdict,) = document(cluster, "why", done["id"], "--at", str(before["index"]))["nodes"]
        assert verdict["terms"]["priority"] == 50.0, "a past moment is judged by the weights of then"
        done = document(cluster, "submit", "--wait", "--priority", "P0", "--", "true")
        assert done["placement"]["terms"]["priority"] == 20.0
        assert done["placement"]["weights"] == whole
        (verdict,) = document(cluster, "why", done["id"])["nodes"]
        assert verdict["terms"] == done["placement"]["terms"]
        batch = tmp_path / "many.jsonl"
        batch.write_text('{"command": "true", "label": "nowhere"}\n' * 1001)
        refused = cluster.cortex("submit", "--file", str(batch))
        assert refused.returncode == 1
        assert b"max_queue_depth, which is 1000" in refused.stderr
