"""From reports to blame, alarms, escalations and reassignments."""

from __future__ import annotations

from cortex.v1 import types_pb2 as t
from cortex.v1 import worker_pb2 as w
from tests.node.leader_kit import Cluster, WorkerEnd, ended, machine_node, sample, shell, started, virtual


class Runs:
    """Runs commands on nodes of a test's choice."""

    def __init__(self, cluster: Cluster, workers: dict[str, WorkerEnd]) -> None:
        self.cluster = cluster
        self.workers = workers
        self.count = 0

    async def assigned(self, node: str, command: str, **spec: object) -> w.Assignment:
        """A task that prefers `node`; where it may go after a failure is for that to say."""
        self.count += 1
        submission = shell(f"t{self.count}", **spec)
        submission.spec.shell_command = command.encode()
        submission.spec.constraints.preferred_capabilities.append(f"on-{node}")
        await self.cluster.submit(submission)
        return (await self.workers[node].next("assignments")).assignments.assignments[0]

    async def end(self, node: str, assignment: w.Assignment, exit_code: int) -> None:
        self.count += 1
        await self.workers[node].report(self.count, started(assignment), ended(assignment, exit_code))
        await self.workers[node].next("reports_ack")


def capable(name: str) -> t.Node:
    node = machine_node(name)
    node.capabilities.append(f"on-{name}")
    return node


async def runs() -> Runs:
    cluster = Cluster().begin()
    workers = {}
    for name in ("n1", "n2"):
        workers[name] = await cluster.connect(capable(name))
        await workers[name].send(sample=sample())
    return Runs(cluster, workers)


def test_a_node_that_breaks_different_commands_takes_the_blame() -> None:
    async def main() -> None:
        r = await runs()
        for command in ("make all", "pytest -q"):
            await r.end("n2", await r.assigned("n2", command), 0)
        await r.end("n1", await r.assigned("n1", "make all"), 2)
        assignment = await r.assigned("n1", "pytest -q")
        await r.end("n1", assignment, 2)
        task = r.cluster.task(assignment.task)
        assert (task.blame, task.attempt, task.excused) == (t.BLAME_NODE, 0, 1)
        assert list(task.unstartable_nodes) == ["n1"]
        again = (await r.workers["n2"].next("assignments")).assignments.assignments[0]
        assert again.task == assignment.task, "no innocent is punished: it runs elsewhere"
        assert r.cluster.replica.state.nodes["n1"].suspect_reason
        await r.end("n2", again, 0)
        for _ in range(5):
            await r.end("n1", await r.assigned("n1", "true", constraints=t.Constraints(target_node="n1")), 0)
        assert not r.cluster.replica.state.nodes["n1"].suspect_reason, "it has done well since"
        await r.cluster.stop()

    virtual(main)


def test_a_failure_is_excused_once_a_run() -> None:
    async def main() -> None:
        r = await runs()
        for command in ("make all", "pytest -q"):
            await r.end("n2", await r.assigned("n2", command), 0)
        await r.end("n1", await r.assigned("n1", "make all"), 2)
        assignment = await r.assigned("n1", "pytest -q")
        await r.end("n1", assignment, 2)
        again = (await r.workers["n2"].next("assignments")).assignments.assignments[0]
        await r.end("n2", again, 2)
        task = r.cluster.task(assignment.task)
        assert (task.attempt, task.excused, task.blame) == (1, 1, t.BLAME_TASK)
        assert [(failure.node, failure.blame) for failure in task.failures] == [
            ("n1", t.BLAME_NODE),
            ("n2", t.BLAME_TASK),
        ]
        await r.cluster.stop()

    virtual(main)


def test_silence_is_escalated_once() -> None:
    async def main() -> None:
        r = await runs()
        assignment = await r.assigned("n1", "sleep 9999")
        stalled = w.Report(stalled=w.Stalled(task=assignment.task, fence=assignment.fence, quiet_us=7_200_000_000))
        await r.workers["n1"].report(1, started(assignment), stalled)
        await r.workers["n1"].next("reports_ack")
        assert r.cluster.task(assignment.task).escalated_at_us
        kinds = r.cluster.replica.kinds()
        await r.workers["n1"].report(2, stalled)
        ack = (await r.workers["n1"].next("reports_ack")).reports_ack
        assert not ack.verdicts
        assert r.cluster.replica.kinds() == kinds, "said again it is no entry"
        await r.cluster.stop()

    virtual(main)


def test_an_idle_agent_s_work_is_taken_and_given_to_another() -> None:
    async def main() -> None:
        r = await runs()
        assignment = await r.assigned("n1", "agent", idle_timeout_ms=600_000)
        idle = w.Stalled(task=assignment.task, fence=assignment.fence, quiet_us=600_000_000, idle=True)
        await r.workers["n1"].report(1, started(assignment), w.Report(stalled=idle))
        stop = (await r.workers["n1"].next("stop")).stop.items[0]
        assert (stop.task, stop.cause) == (assignment.task, t.CAUSE_IDLE)
        await r.workers["n1"].report(2, ended(assignment, None, t.CAUSE_IDLE))
        again = (await r.workers["n2"].next("assignments")).assignments.assignments[0]
        assert (again.task, again.attempt) == (assignment.task, 0)
        task = r.cluster.task(assignment.task)
        assert (task.idles, task.failures[0].cause) == (1, t.CAUSE_IDLE)
        events = [event.type for event in r.cluster.replica.past.of(t.Event) if event.task == task.id]
        assert t.EVENT_TYPE_REASSIGNED in events
        await r.cluster.stop()

    virtual(main)


def test_an_unkillable_command_cordons_its_node() -> None:
    async def main() -> None:
        r = await runs()
        assignment = await r.assigned("n1", "sleep 9999")
        stuck = w.Unkillable(task=assignment.task, fence=assignment.fence, reason="Process group 7 outlived KILL.")
        await r.workers["n1"].report(1, started(assignment), w.Report(unkillable=stuck))
        await r.workers["n1"].next("reports_ack")
        node = r.cluster.replica.state.nodes["n1"]
        assert node.state == t.NODE_STATE_CORDONED
        assert "outlived KILL" in node.alarm
        assert r.cluster.task(assignment.task).state == t.TASK_STATE_RUNNING, "it has not ended"
        await r.cluster.stop()

    virtual(main)
