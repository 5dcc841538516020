"""The made-up cluster as a Source of the console, and a Mutator that changes it in memory."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from itertools import islice

from cortex.v1 import cluster_pb2, types_pb2
from tui.demo import tasks
from tui.demo.cluster import TERM, DemoCluster
from tui.demo.drains import DemoDrains
from tui.demo.mutator import DemoMutator
from tui.demo.nodes import CYCLE
from tui.demo.operations import DemoOperations
from tui.demo.size import DemoSize
from tui.source import Moment, SourceError, WatchItem

_ROWS_PER_MESSAGE = 500
_SAMPLES_AT_ONCE = 10
_OUTPUT_LINES = 40
_VERDICTS = 50
_NO_PAST = SourceError("The demo has no past.", "Look at a real cluster: `cortex up`.")


class DemoSource:
    """Implements tui.source.Source. Time passes while the stream is read, one tick per `sleep`."""

    def __init__(self, size: DemoSize, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self.cluster = DemoCluster(size)
        self._sleep = sleep
        self._pushed: list[types_pb2.Change] = []
        self._begun_s = time.monotonic()
        self._operations = DemoOperations(self.cluster, self.push, sleep)
        self._drains = DemoDrains(self.cluster, self.push)
        self._told: dict[int, tuple[Sequence[cluster_pb2.NodeView], cluster_pb2.WatchReply]] = {}
        """By the samples that a message has: they come again, and so do the messages."""

    @property
    def name(self) -> str:
        return "demo"

    def clock(self) -> float:
        """Stands still with the cluster."""
        return time.monotonic() if self.cluster.size.rate else self._begun_s

    def push(self, changes: Iterable[types_pb2.Change]) -> None:
        """Send these with the next tick."""
        self._pushed += changes

    def _message(self, changes: Sequence[types_pb2.Change] = ()) -> cluster_pb2.WatchReply:
        cluster = self.cluster
        return cluster_pb2.WatchReply(
            index=cluster.index, at_us=cluster.now_us, changes=changes, leader=cluster.leader, term=TERM
        )

    async def watch(self) -> AsyncIterator[WatchItem]:
        cluster = self.cluster
        begin = self._message()
        begin.snapshot_begin = True
        yield begin
        first = self._message()
        first.samples.extend(cluster.samples())
        rows = cluster.rows()
        while part := list(islice(rows, _ROWS_PER_MESSAGE)):
            yield self._message(part)
            if first is not None and len(first.samples):
                yield first
                first = self._message()
            await asyncio.sleep(0)
        end = self._message()
        end.snapshot_end = True
        yield end
        while True:
            await self._sleep(1 / (cluster.size.rate or 1))
            changes = cluster.step() if cluster.size.rate else []
            pushed, self._pushed = self._pushed, []
            message = self._message([*changes, *pushed])
            message.heartbeat = not message.changes
            yield message
            if cluster.size.rate:
                yield await self._samples()

    async def _samples(self) -> cluster_pb2.WatchReply:
        """Those of this tick; made by and by, for the console's keys wait meanwhile."""
        for _ in self.cluster.sampling(_SAMPLES_AT_ONCE):
            await asyncio.sleep(0)
        samples = self.cluster.samples()
        kept = self._told.get(id(samples))
        if kept is None:
            if len(self._told) >= CYCLE:
                self._told.clear()
            message = cluster_pb2.WatchReply(samples=samples, leader=self.cluster.leader, term=TERM)
            kept = self._told[id(samples)] = (samples, message)
        return kept[1]

    async def get_task(self, task_id: str, *, at: Moment | None = None) -> cluster_pb2.GetTaskReply:
        row = self.cluster.task(task_id)
        if row is None:
            raise SourceError(f"There is no task {task_id}.")
        events = [event for event in self.cluster.events if event.task == task_id]
        return cluster_pb2.GetTaskReply(task=row, events=events, index=self.cluster.index)

    async def list_tasks(
        self,
        states: Sequence[types_pb2.TaskState.ValueType] = (),
        limit: int = 1000,
        cursor: str = "",
        *,
        node: str = "",
        workflow: str = "",
        operation: str = "",
        cause: str = "",
        at: Moment | None = None,
    ) -> cluster_pb2.ListTasksReply:
        _only_now(at)
        if workflow:
            rows = self.cluster.members(workflow) if workflow in self.cluster.workflows else []
        elif cause or tuple(states) == (tasks.DEAD,):
            rows = [row for row in self.cluster.letters() if not cause or row.fingerprint == cause]
        else:
            rows = []  # the stream has told of all others
        found = [row for row in rows if (not states or row.state in states) and (not node or row.node == node)]
        return cluster_pb2.ListTasksReply(tasks=found[:limit], total=len(found), index=self.cluster.index)

    async def list_nodes(self, *, at: Moment | None = None) -> cluster_pb2.ListNodesReply:
        _only_now(at)
        return cluster_pb2.ListNodesReply(nodes=self.cluster.samples(), index=self.cluster.index)

    async def list_events(
        self,
        *,
        task: str = "",
        node: str = "",
        workflow: str = "",
        operation: str = "",
        actor: str = "",
        audit: bool = False,
        since_us: int = 0,
        limit: int = 1000,
        cursor: str = "",
        at: Moment | None = None,
        oldest: bool = False,
    ) -> cluster_pb2.ListEventsReply:
        _only_now(at)
        wanted = {"task": task, "node": node, "workflow": workflow, "operation": operation, "actor": actor}
        found = [
            event
            for event in self.cluster.events
            if all(not value or getattr(event, name) == value for name, value in wanted.items())
            and event.at_us >= since_us
            and (event.actor or not audit)
        ]
        return cluster_pb2.ListEventsReply(events=found[-limit:], index=self.cluster.index)

    async def list_workflows(
        self, *, limit: int = 1000, cursor: str = "", at: Moment | None = None
    ) -> cluster_pb2.ListWorkflowsReply:
        _only_now(at)
        rows = list(self.cluster.workflows.values())
        return cluster_pb2.ListWorkflowsReply(workflows=rows[:limit], total=len(rows), index=self.cluster.index)

    async def get_workflow(self, workflow_id: str, *, at: Moment | None = None) -> cluster_pb2.GetWorkflowReply:
        _only_now(at)
        row = self.cluster.workflows.get(workflow_id)
        if row is None:
            raise SourceError(f"There is no workflow {workflow_id}.")
        reply = cluster_pb2.GetWorkflowReply(index=self.cluster.index)
        reply.status.workflow.CopyFrom(row)
        reply.status.tasks.extend(self.cluster.members(workflow_id))
        return reply

    async def rehearse_resume(self, workflow_id: str, key: str = "") -> Sequence[str]:
        rows = self.cluster.members(workflow_id)
        if not key:
            return [row.id for row in rows if row.state != tasks.COMPLETED]
        again = {row.member for row in rows if row.task_key == key}
        for row in rows:
            if again & set(row.depends_on):
                again.add(row.member)
        return [row.id for row in rows if row.member in again]

    async def list_causes(self, limit: int = 0, *, at: Moment | None = None) -> cluster_pb2.ListCausesReply:
        letters = self.cluster.letters()
        counts = Counter(row.fingerprint for row in letters)
        reply = cluster_pb2.ListCausesReply(index=self.cluster.index)
        for fingerprint, count in counts.most_common(limit or None):
            rows = [row for row in letters if row.fingerprint == fingerprint]
            times = [row.dead_lettered_at_us for row in rows]
            cause = reply.causes.add(
                fingerprint=fingerprint, count=count, first_at_us=min(times), last_at_us=max(times)
            )
            cause.nodes.extend(name for name, _ in Counter(row.node for row in rows).most_common(10))
            cause.sample.CopyFrom(max(rows, key=lambda row: row.dead_lettered_at_us))
        return reply

    async def list_operations(
        self, *, live: bool = False, limit: int = 1000, cursor: str = "", at: Moment | None = None
    ) -> cluster_pb2.ListOperationsReply:
        rows = list(self._operations.rows.values())[::-1]
        return cluster_pb2.ListOperationsReply(operations=rows[:limit], index=self.cluster.index)

    async def get_operation(self, operation_id: str, *, at: Moment | None = None) -> cluster_pb2.GetOperationReply:
        row = self._operations.rows.get(operation_id)
        if row is None:
            raise SourceError(f"There is no operation {operation_id}.")
        return cluster_pb2.GetOperationReply(operation=row, index=self.cluster.index)

    async def rehearse_drain(self, request: cluster_pb2.DrainRequest) -> cluster_pb2.RehearseDrainReply:
        return cluster_pb2.RehearseDrainReply(plan=self._drains.rehearse(request), index=self.cluster.index)

    async def diff(self, begin: Moment, end: Moment | None = None, limit: int = 0) -> cluster_pb2.DiffReply:
        raise _NO_PAST

    async def inspect_node(self, node: str, *, span_us: int = 0, points: int = 0) -> cluster_pb2.InspectNodeReply:
        raise SourceError("A made-up node keeps nothing of its own.", "Look at a real cluster: `cortex up`.")

    async def list_double_runs(
        self, task: str = "", *, limit: int = 1000, at: Moment | None = None
    ) -> cluster_pb2.ListDoubleRunsReply:
        return cluster_pb2.ListDoubleRunsReply(index=self.cluster.index)

    async def get_settings(self, *, at: Moment | None = None) -> cluster_pb2.GetSettingsReply:
        return cluster_pb2.GetSettingsReply(index=self.cluster.index)

    async def why(self, task_id: str, *, at: Moment | None = None) -> cluster_pb2.WhyReply:
        row = self.cluster.task(task_id)
        if row is None:
            raise SourceError(f"There is no task {task_id}.")
        return cluster_pb2.WhyReply(task=row, nodes=self._verdicts(), index=self.cluster.index)

    async def dry_run(self, task: cluster_pb2.TaskRequest) -> Sequence[cluster_pb2.NodeVerdict]:
        return self._verdicts()

    def _verdicts(self) -> list[cluster_pb2.NodeVerdict]:
        found = []
        for view in islice(self.cluster.samples(), _VERDICTS):
            verdict = cluster_pb2.NodeVerdict(node=view.node.id, score=view.score, terms=view.terms)
            if not view.node.online:
                verdict.reason, verdict.flip = "it is offline", f"bring {view.node.id} back"
            elif view.node.state != types_pb2.NODE_STATE_ACTIVE:
                verdict.reason, verdict.flip = "it is cordoned", f"uncordon {view.node.id}"
            verdict.eligible = not verdict.reason
            found.append(verdict)
        return found

    async def output(self, request: cluster_pb2.OutputRequest) -> AsyncIterator[cluster_pb2.OutputReply]:
        lines = "".join(f"part {number:3} of {_OUTPUT_LINES} done\n" for number in range(1, _OUTPUT_LINES + 1))
        data = lines.encode()[request.offset :]
        yield cluster_pb2.OutputReply(
            stream=cluster_pb2.STREAM_KIND_STDOUT, offset=request.offset, data=data, fence=request.fence
        )
        row = self.cluster.task(request.id)
        if request.follow and row is not None and row.state == tasks.RUNNING:
            await asyncio.Event().wait()

    def mutator(self) -> DemoMutator:
        return DemoMutator(self.cluster, self.push, self._operations, self._drains)


def _only_now(at: Moment | None) -> None:
    if at is not None:
        raise _NO_PAST
