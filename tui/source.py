"""What the console needs of a cluster. The client implements it; tests and the demo put their own in place.

Reading and changing are two protocols, so that a read-only console never holds an object that can change anything.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from cortex.v1 import cluster_pb2, types_pb2


class SourceError(Exception):
    """A call failed: one sentence for the operator, and what to do about it (may be empty).

    `code` is the cluster's name for it, as in docs/errors.md; empty when it has none.
    """

    def __init__(self, message: str, remedy: str = "", code: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        self.code = code


@dataclass(frozen=True, slots=True)
class LinkState:
    """Whether the stream is connected. Sent within the stream whenever it changes."""

    up: bool
    address: str = ""
    """Who answers, or was asked last."""
    detail: str = ""
    """Why it is down, in one sentence; empty when up."""
    remedy: str = ""
    """What to do about it, where more is known than that nobody answers."""
    over: bool = False
    """Nothing will come any more: `detail` says why."""


WatchItem = cluster_pb2.WatchReply | LinkState
Moment = cluster_pb2.Moment


@runtime_checkable
class Timed(Protocol):
    """A source with a time of its own, by which what it tells grows old."""

    def clock(self) -> float:
        """Monotonic seconds."""
        ...


class Mutator(Protocol):
    """Calls that change the cluster. Each numbers its own request and repeats it when the outcome is unknown.

    `undo_window_ms` None = the cluster's own. All raise SourceError.
    """

    async def submit(self, task: cluster_pb2.TaskRequest) -> cluster_pb2.SubmitReply: ...

    async def cancel(self, ids: Sequence[str], reason: str = "") -> cluster_pb2.MutationReply: ...

    async def retry(
        self,
        ids: Sequence[str] = (),
        *,
        cause: str = "",
        canary: bool = False,
        edited_spec: types_pb2.TaskSpec | None = None,
        undo_window_ms: int | None = None,
    ) -> cluster_pb2.MutationReply: ...

    async def discard(
        self, ids: Sequence[str], reason: str, *, cause: str = "", undo_window_ms: int | None = None
    ) -> cluster_pb2.MutationReply: ...

    async def set_priority(
        self, ids: Sequence[str], priority: int, *, undo_window_ms: int | None = None
    ) -> cluster_pb2.MutationReply: ...

    async def annotate(self, task_id: str, text: str) -> cluster_pb2.MutationReply: ...

    async def undo_operation(self, operation_id: str, reason: str = "") -> cluster_pb2.MutationReply: ...

    async def stop_operation(self, operation_id: str, reason: str = "") -> cluster_pb2.MutationReply: ...

    async def cordon(self, node: str, message: str = "") -> cluster_pb2.MutationReply: ...

    async def uncordon(self, node: str) -> cluster_pb2.MutationReply: ...

    async def drain_node(self, request: cluster_pb2.DrainRequest) -> cluster_pb2.DrainNodeReply: ...

    async def remove_node(self, node: str, message: str = "") -> cluster_pb2.MutationReply: ...

    async def cancel_workflow(self, workflow_id: str, reason: str = "") -> cluster_pb2.MutationReply: ...

    async def resume_workflow(self, workflow_id: str, key: str = "") -> cluster_pb2.MutationReply: ...


class Source(Protocol):
    """Calls that only read. All raise SourceError, but for watch, which never ends by itself.

    `at`: as it was then.
    """

    @property
    def name(self) -> str:
        """Of the cluster, as the operator addressed it."""
        ...

    def watch(self) -> AsyncIterator[WatchItem]:
        """Live rows as a snapshot, then every change, samples and events; LinkState when the link is lost or back.

        Reconnects and resumes after the last index by itself; begins anew with a snapshot when that index is gone.
        """
        ...

    async def get_task(self, task_id: str, *, at: Moment | None = None) -> cluster_pb2.GetTaskReply: ...

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
    ) -> cluster_pb2.ListTasksReply: ...

    async def list_nodes(self, *, at: Moment | None = None) -> cluster_pb2.ListNodesReply: ...

    async def inspect_node(self, node: str, *, span_us: int = 0, points: int = 0) -> cluster_pb2.InspectNodeReply:
        """What only the node itself knows: what its tasks use, and its last `span_us` in `points` steps."""
        ...

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
        """The last of them, oldest first; next_cursor leads to earlier ones. `oldest`: the first ones instead."""
        ...

    async def list_workflows(
        self, *, limit: int = 1000, cursor: str = "", at: Moment | None = None
    ) -> cluster_pb2.ListWorkflowsReply: ...

    async def get_workflow(self, workflow_id: str, *, at: Moment | None = None) -> cluster_pb2.GetWorkflowReply: ...

    async def rehearse_resume(self, workflow_id: str, key: str = "") -> Sequence[str]:
        """Ids of the tasks that a resume would run again."""
        ...

    async def list_causes(self, limit: int = 0, *, at: Moment | None = None) -> cluster_pb2.ListCausesReply: ...

    async def list_operations(
        self, *, live: bool = False, limit: int = 1000, cursor: str = "", at: Moment | None = None
    ) -> cluster_pb2.ListOperationsReply: ...

    async def get_operation(
        self, operation_id: str, *, at: Moment | None = None
    ) -> cluster_pb2.GetOperationReply: ...

    async def rehearse_drain(self, request: cluster_pb2.DrainRequest) -> cluster_pb2.RehearseDrainReply: ...

    async def diff(self, begin: Moment, end: Moment | None = None, limit: int = 0) -> cluster_pb2.DiffReply:
        """What is not the same at `end`, or now, as it was at `begin`."""
        ...

    async def list_double_runs(
        self, task: str = "", *, limit: int = 1000, at: Moment | None = None
    ) -> cluster_pb2.ListDoubleRunsReply: ...

    async def get_settings(self, *, at: Moment | None = None) -> cluster_pb2.GetSettingsReply: ...

    async def why(self, task_id: str, *, at: Moment | None = None) -> cluster_pb2.WhyReply: ...

    async def dry_run(self, task: cluster_pb2.TaskRequest) -> Sequence[cluster_pb2.NodeVerdict]:
        """Where the task would go, without submitting it."""
        ...

    def output(self, request: cluster_pb2.OutputRequest) -> AsyncIterator[cluster_pb2.OutputReply]: ...

    def mutator(self) -> Mutator:
        """Builds the stub that can change the cluster."""
        ...
