"""The next release in place of this one, under commands that run: nothing of them is disturbed."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from cortex.v1 import cluster_pb2, types_pb2
from tests.e2e.harness import Cluster, eventually, shell, state_name, wait_all_ended
from tests.gate import gate_in, opened

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).resolve().parents[2]
COMMANDS, SERVICES = 95, 5
MakeCluster = Callable[..., Cluster]


def next_release(folder: Path) -> Path:
    """This one, with another supervisor."""
    shutil.copytree(ROOT / "node", folder / "node", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "proto/cortex", folder / "cortex", ignore=shutil.ignore_patterns("__pycache__"))
    with (folder / "node/supervisor/log.py").open("a") as file:
        file.write("# of the next release\n")
    return folder


def service(command: str) -> cluster_pb2.TaskRequest:
    request = shell(command)
    request.spec.type = types_pb2.TASK_TYPE_SERVICE
    request.spec.payload = b'{"ready": {"pattern": "it is (?P<state>ready)"}, "restart": {"policy": "never"}}'
    return request


def program_of(supervisor_pid: int) -> str:
    return Path(f"/proc/{supervisor_pid}/cmdline").read_text()


async def test_100_tasks_run_on_under_the_next_release(make_cluster: MakeCluster, tmp_path: Path) -> None:
    gate = gate_in(tmp_path)
    cluster = make_cluster(voters=1, environment={"CORTEX_SLOTS": f"{COMMANDS},service={SERVICES}"})
    (node,) = cluster.nodes.values()
    async with cluster.client() as client:
        await cluster.leader(client)
        wanted = Counter(number % 7 for number in range(COMMANDS)) + Counter({0: SERVICES})
        requests = [shell(f"echo begun; : <{gate}; echo done; exit {n % 7}") for n in range(COMMANDS)]
        requests += [service(f"echo it is ready; : <{gate}; echo done") for _ in range(SERVICES)]
        ids = list((await client.submit_batch(requests)).ids)

        before: list[types_pb2.Task] = []

        async def under_way() -> str:
            tasks = [(await client.get_task(task_id)).task for task_id in ids]
            ready = [task for task in tasks if task.ready_at_us]
            before[:] = [task for task in tasks if state_name(task) == "running"]
            return "yes" if (len(before), len(ready)) == (len(ids), SERVICES) else ""

        await eventually(under_way)
        supervisor = int((node.data / "supervisor.pid").read_text())
        cluster.kill()
        cluster.environment |= {"PYTHONPATH": str(next_release(tmp_path / "next")), "PYTHONSAFEPATH": "1"}
        cluster.start()
        await cluster.leader(client)

        async def replaced() -> str:
            return "yes" if str(tmp_path / "next") in program_of(supervisor) else ""

        await eventually(replaced)
        assert int((node.data / "supervisor.pid").read_text()) == supervisor, "it became the next one in place"
        with opened(gate):
            await wait_all_ended(client, set(ids), 60.0)
        after = [(await client.get_task(task_id)).task for task_id in ids]
        assert Counter(task.result.exit_code for task in after) == wanted
        assert [(task.fence, task.started_at_us, task.attempt, task.losses) for task in after] == [
            (task.fence, task.started_at_us, 0, 0) for task in before
        ]
        assert {task.result.stdout.head.splitlines()[-1] for task in after} == {b"done"}
        assert not (await client.list_double_runs()).double_runs
