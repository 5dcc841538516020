"""What nodes tell of themselves, through any daemon: what a task uses, its peak, history, what is offered."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from cortex.v1 import types_pb2 as t
from tests.e2e.harness import Cluster, eventually, shell, wait_all_ended
from tests.gate import gate_in, opened

pytestmark = pytest.mark.e2e
MakeCluster = Callable[..., Cluster]


async def test_a_node_tells_what_its_task_uses_and_the_result_keeps_the_most(
    make_cluster: MakeCluster, tmp_path: Path
) -> None:
    cluster = make_cluster(voters=2)
    async with cluster.client() as client:
        leader = await cluster.whole(client)
        other = next(node.id for node in cluster.nodes.values() if node.id != leader)
        gate = gate_in(tmp_path)
        task = shell(f"x=$(head -c 30000000 /dev/zero | tr '\\0' x); : <{gate}; echo ${{#x}}", submit_key="one")
        task.spec.constraints.target_node = other

        async def submitted() -> str:
            return (await client.submit(task)).id

        made = await eventually(submitted)

        async def used() -> str:
            reply = await client.inspect_node(other, span_us=600_000_000)
            known = {use.task: use for use in reply.tasks}
            if made not in known or known[made].memory_bytes < 30_000_000:
                return ""
            cpu = next(row for row in reply.history if row.name == "cpu")
            return "measured" if any(not math.isnan(value) for value in cpu.values) else ""

        await eventually(used)
        with opened(gate):
            ended = (await wait_all_ended(client, {made}, 60))[made]
        assert ended.state == t.TASK_STATE_COMPLETED
        assert ended.result.usage.peak_memory_bytes >= 30_000_000
        views = {view.node.id: view for view in (await client.list_nodes()).nodes}
        assert any(offer.type == t.TASK_TYPE_SHELL and offer.available for offer in views[other].node.executors)
        assert views[other].resources.HasField("swap_total_bytes")
