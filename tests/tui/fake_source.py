"""A source for the console whose stream is what the test puts into it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence

from cortex.v1 import cluster_pb2, types_pb2
from tests.tui.fake import NOW_US, sample_events, sample_nodes, sample_operations, sample_tasks, terms
from tests.tui.fake_dags import reruns, sample_workflows
from tests.tui.fake_mutator import FakeMutator
from tui.source import Moment, SourceError, WatchItem

Row = types_pb2.Task | types_pb2.Event | types_pb2.Node | types_pb2.Workflow | types_pb2.Operation


def lean(row: types_pb2.Operation) -> types_pb2.Operation:
    """As the stream tells it: without the lists of its plan."""
    told = types_pb2.Operation()
    told.CopyFrom(row)
    if told.WhichOneof("plan") == "drain":
        told.drain.ClearField("moves")
        told.drain.ClearField("stuck")
    return told


def without_output(row: types_pb2.Task) -> types_pb2.Task:
    lean = types_pb2.Task()
    lean.CopyFrom(row)
    for stream in (lean.result.stdout, lean.result.stderr):
        stream.last_line = (stream.head + stream.tail).rstrip().rpartition(b"\n")[2]
        stream.ClearField("head")
        stream.ClearField("tail")
    return lean


def causes_of(tasks: Iterable[types_pb2.Task], index: int) -> cluster_pb2.ListCausesReply:
    """Dead letters by cause, as a daemon counts them."""
    groups: dict[str, list[types_pb2.Task]] = {}
    for row in tasks:
        if row.state == types_pb2.TASK_STATE_DEAD_LETTER:
            groups.setdefault(row.fingerprint, []).append(row)
    causes = []
    for fingerprint, rows in groups.items():
        rows.sort(key=lambda row: (row.dead_lettered_at_us, row.id))
        nodes = Counter(row.node for row in rows if row.node)
        causes.append(
            cluster_pb2.DeadLetterCause(
                fingerprint=fingerprint,
                count=len(rows),
                first_at_us=rows[0].dead_lettered_at_us,
                last_at_us=rows[-1].dead_lettered_at_us,
                nodes=[node for node, _ in nodes.most_common(10)],
                sample=without_output(rows[-1]),
            )
        )
    causes.sort(key=lambda row: (-row.count, row.fingerprint))
    return cluster_pb2.ListCausesReply(causes=causes, index=index)


class FakeSource:
    """A source whose stream is what the test puts into it."""

    name = "demo"

    def __init__(
        self,
        tasks: Sequence[types_pb2.Task] | None = None,
        nodes: Sequence[cluster_pb2.NodeView] | None = None,
        events: Sequence[types_pb2.Event] | None = None,
    ) -> None:
        self.tasks = {row.id: row for row in (sample_tasks() if tasks is None else tasks)}
        self.nodes = {row.node.id: row for row in (sample_nodes() if nodes is None else nodes)}
        self.events = list(sample_events() if events is None else events)
        self.output_replies: dict[str, list[cluster_pb2.OutputReply]] = {}
        self.output_requests: list[cluster_pb2.OutputRequest] = []
        self.calls: list[tuple[object, ...]] = []
        self.mutators = 0
        self.cause_requests = 0
        self.watches = 0
        self.history_asked = False
        self.workflows = sample_workflows() if tasks is None else {}
        self.resumes: dict[tuple[str, str], Sequence[str]] = {}
        self.operations = {row.id: row for row in (sample_operations() if tasks is None else ())}
        self.rehearsal = types_pb2.DrainPlan()
        """What the next rehearsals say; node, id and options are those that were asked for."""
        self.plans: dict[str, types_pb2.DrainPlan] = {}
        self.refuse_plan: SourceError | None = None
        """Raised once by the next drain."""
        self.inspected: dict[str, cluster_pb2.InspectNodeReply] = {}
        self.inspections: list[tuple[str, int, int]] = []
        self.whys: dict[str, cluster_pb2.WhyReply] = {}
        self.settings_at: dict[str, str] = {}
        """Of every past moment, as JSON."""
        self.rehearsals: list[cluster_pb2.DrainRequest] = []
        self.differences = cluster_pb2.DiffReply()
        self.index = 1500
        self.refuse: SourceError | None = None
        self._stream: asyncio.Queue[WatchItem] = asyncio.Queue()

    def snapshot(self) -> list[cluster_pb2.WatchReply]:
        changes = [types_pb2.Change(node=view.node) for view in self.nodes.values()]
        changes += [types_pb2.Change(task=row) for row in self.tasks.values() if not row.completed_at_us]
        changes += [types_pb2.Change(workflow=reply.status.workflow) for reply in self.workflows.values()]
        changes += [types_pb2.Change(operation=lean(row)) for row in self.operations.values()]
        return [
            cluster_pb2.WatchReply(snapshot_begin=True, index=self.index, at_us=NOW_US, leader="anvil", term=4),
            cluster_pb2.WatchReply(
                index=self.index, at_us=NOW_US, changes=changes, samples=self.nodes.values(), leader="anvil", term=4
            ),
            cluster_pb2.WatchReply(snapshot_end=True, index=self.index, at_us=NOW_US, leader="anvil", term=4),
        ]

    def push(
        self,
        *rows: Row,
        samples: Sequence[cluster_pb2.NodeView] = (),
        at_us: int = NOW_US,
    ) -> None:
        """Send changed rows down the stream."""
        self.index += 1
        changes = []
        for row in rows:
            if isinstance(row, types_pb2.Task):
                self.tasks[row.id] = row
                changes.append(types_pb2.Change(task=row))
            elif isinstance(row, types_pb2.Node):
                changes.append(types_pb2.Change(node=row))
            elif isinstance(row, types_pb2.Workflow):
                changes.append(types_pb2.Change(workflow=row))
            elif isinstance(row, types_pb2.Operation):
                self.operations[row.id] = row
                changes.append(types_pb2.Change(operation=lean(row)))
            else:
                changes.append(types_pb2.Change(event=row))
        self.put(
            cluster_pb2.WatchReply(
                index=self.index, at_us=at_us, changes=changes, samples=samples, leader="anvil", term=4
            )
        )

    @property
    def waiting(self) -> bool:
        """Whether something was pushed that the console has not taken."""
        return not self._stream.empty()

    def put(self, item: WatchItem) -> None:
        self._stream.put_nowait(item)

    async def watch(self) -> AsyncIterator[WatchItem]:
        self.watches += 1
        for reply in self.snapshot():
            yield reply
        while True:
            yield await self._stream.get()

    async def get_task(self, task_id: str, *, at: Moment | None = None) -> cluster_pb2.GetTaskReply:
        row = self.tasks.get(task_id)
        if row is None:
            raise SourceError(f"no task {task_id}")
        return cluster_pb2.GetTaskReply(
            task=row, events=[entry for entry in self.events if entry.task == task_id], index=self.index, at=at
        )

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
        rows = [
            row for row in self.tasks.values()
            if (not states or row.state in states) and (not node or row.node == node)
            and (not workflow or row.workflow_id == workflow) and (not cause or row.fingerprint == cause)
            and (not operation or row.operation == operation)
        ]  # fmt: skip
        if cause:
            rows.sort(key=lambda row: (row.dead_lettered_at_us, row.id), reverse=True)
        return cluster_pb2.ListTasksReply(tasks=rows[:limit], total=len(rows), index=self.index, at=at)

    async def list_nodes(self, *, at: Moment | None = None) -> cluster_pb2.ListNodesReply:
        return cluster_pb2.ListNodesReply(nodes=self.nodes.values(), index=self.index, at=at)

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
        rows = [
            entry for entry in self.events
            if (not task or entry.task == task) and (not node or entry.node == node) and entry.at_us >= since_us
            and (not workflow or entry.workflow == workflow) and (not audit or entry.actor)
        ]  # fmt: skip
        self.history_asked = True
        return cluster_pb2.ListEventsReply(events=rows[:limit], index=self.index)

    async def list_workflows(
        self, *, limit: int = 1000, cursor: str = "", at: Moment | None = None
    ) -> cluster_pb2.ListWorkflowsReply:
        rows = [reply.status.workflow for reply in self.workflows.values()]
        return cluster_pb2.ListWorkflowsReply(workflows=rows[:limit], total=len(rows), index=self.index, at=at)

    async def get_workflow(self, workflow_id: str, *, at: Moment | None = None) -> cluster_pb2.GetWorkflowReply:
        reply = self.workflows.get(workflow_id)
        if reply is None:
            raise SourceError(f"no workflow {workflow_id}")
        return reply

    async def rehearse_resume(self, workflow_id: str, key: str = "") -> Sequence[str]:
        if (said := self.resumes.get((workflow_id, key))) is not None:
            return said
        return reruns(await self.get_workflow(workflow_id), key)

    async def list_causes(self, limit: int = 0, *, at: Moment | None = None) -> cluster_pb2.ListCausesReply:
        self.cause_requests += 1
        return causes_of(self.tasks.values(), self.index)

    async def list_operations(
        self, *, live: bool = False, limit: int = 1000, cursor: str = "", at: Moment | None = None
    ) -> cluster_pb2.ListOperationsReply:
        return cluster_pb2.ListOperationsReply(operations=self.operations.values(), index=self.index)

    async def get_operation(self, operation_id: str, *, at: Moment | None = None) -> cluster_pb2.GetOperationReply:
        row = self.operations.get(operation_id)
        if row is None:
            raise SourceError(
                f"There is no operation {operation_id}.", "List them with `cortex operations`.", "not_found"
            )
        return cluster_pb2.GetOperationReply(operation=row, index=self.index)

    async def rehearse_drain(self, request: cluster_pb2.DrainRequest) -> cluster_pb2.RehearseDrainReply:
        self.rehearsals.append(request)
        plan = types_pb2.DrainPlan()
        plan.CopyFrom(self.rehearsal)
        plan.id, plan.node, plan.index = f"plan-{len(self.rehearsals)}", request.node, self.index
        plan.deadline_ms = 0 if request.no_deadline else request.deadline_ms
        plan.hold, plan.force, plan.keep_cordoned = request.hold, request.force, request.keep_cordoned
        plan.max_parallel, plan.message = request.max_parallel, request.message
        self.plans[plan.id] = plan
        return cluster_pb2.RehearseDrainReply(plan=plan, index=self.index)

    async def diff(self, begin: Moment, end: Moment | None = None, limit: int = 0) -> cluster_pb2.DiffReply:
        return self.differences

    async def inspect_node(self, node: str, *, span_us: int = 0, points: int = 0) -> cluster_pb2.InspectNodeReply:
        self.inspections.append((node, span_us, points))
        if node not in self.inspected:
            raise SourceError(f"{node} does not answer.")
        return self.inspected[node]

    async def list_double_runs(
        self, task: str = "", *, limit: int = 1000, at: Moment | None = None
    ) -> cluster_pb2.ListDoubleRunsReply:
        return cluster_pb2.ListDoubleRunsReply(index=self.index)

    async def get_settings(self, *, at: Moment | None = None) -> cluster_pb2.GetSettingsReply:
        was = [cluster_pb2.SettingView(name=name, value=value) for name, value in self.settings_at.items() if at]
        return cluster_pb2.GetSettingsReply(index=self.index, settings=was)

    async def why(self, task_id: str, *, at: Moment | None = None) -> cluster_pb2.WhyReply:
        if task_id in self.whys:
            return self.whys[task_id]
        if task_id not in self.tasks:
            raise SourceError(f"no task {task_id}")
        return cluster_pb2.WhyReply(
            task=self.tasks[task_id],
            nodes=[
                cluster_pb2.NodeVerdict(node="anvil", eligible=False, reason="GPU 97% busy"),
                cluster_pb2.NodeVerdict(node="birch", eligible=True, score=61.5, terms=terms(18, 34, 71, 3, 2)),
                cluster_pb2.NodeVerdict(node="dune", eligible=False, reason="cordoned", flip="uncordon dune"),
            ],
            index=self.index,
        )

    async def dry_run(self, request: cluster_pb2.TaskRequest) -> Sequence[cluster_pb2.NodeVerdict]:
        return [
            cluster_pb2.NodeVerdict(node="birch", eligible=True, score=61.5),
            cluster_pb2.NodeVerdict(node="cedar", eligible=True, score=58.0),
            cluster_pb2.NodeVerdict(node="dune", eligible=False, reason="cordoned"),
        ]

    async def output(self, request: cluster_pb2.OutputRequest) -> AsyncIterator[cluster_pb2.OutputReply]:
        self.output_requests.append(request)
        for reply in self.output_replies.get(request.id, []):
            yield reply
        if request.follow:
            await asyncio.Event().wait()

    def mutator(self) -> FakeMutator:
        self.mutators += 1
        return FakeMutator(self)
