"""The gRPC side of the fake cluster: daemons on real sockets."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Self

import grpc

from cortex.v1 import cluster_pb2 as pb
from cortex.v1 import cluster_pb2_grpc
from cortex.v1 import types_pb2 as types
from node.rpc.views import without_output
from tests.tui.fake_cluster import ENDED, FakeCluster, Output, Refusal
from tests.tui.fake_drains import DrainServicer
from tests.tui.fake_members import MemberServicer
from tests.tui.fake_operations import OperationServicer
from tests.tui.fake_workflows import WorkflowServicer

HEARTBEAT_S = 0.2
_STATUS = {
    "not_found": grpc.StatusCode.NOT_FOUND,
    "wrong_state": grpc.StatusCode.FAILED_PRECONDITION,
    "no_leader": grpc.StatusCode.UNAVAILABLE,
    "gone": grpc.StatusCode.OUT_OF_RANGE,
    "unauthenticated": grpc.StatusCode.UNAUTHENTICATED,
}


class FakeServicer(
    WorkflowServicer, OperationServicer, DrainServicer, MemberServicer, cluster_pb2_grpc.ClusterServicer
):
    """One daemon of the fake cluster."""

    def __init__(self, cluster: FakeCluster, node: str) -> None:
        self._cluster, self._node = cluster, node

    async def handle(self, method: str, request: Any, context: Any) -> Any:
        cluster = self._cluster
        await self._admit(method, request, context)
        mutation = getattr(request, "mutation", None)
        known = (mutation.client, mutation.request_id) if mutation is not None else None
        if known in cluster.replies:
            reply = cluster.replies[known]
        else:
            try:
                reply = getattr(self, f"_{method}")(request)
            except Refusal as refusal:
                await abort(context, refusal)
        if known is not None:
            cluster.replies[known] = reply
        if cluster.lost_replies.get(method, 0):
            cluster.lost_replies[method] -= 1
            await context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")
        return reply

    async def _admit(self, method: str, request: Any, context: Any) -> None:
        cluster = self._cluster
        cluster.call(method, request)
        given = dict(context.invocation_metadata()).get("cortex-secret", "")
        if cluster.secret and given != cluster.secret and not context.peer().startswith("unix:"):
            await abort(context, Refusal("unauthenticated", "The cluster secret is wrong.", "Name its file."))
        if method in cluster.refuse:
            await abort(context, cluster.refuse[method])

    def _Submit(self, request: pb.SubmitRequest) -> pb.SubmitReply:
        if request.dry_run:
            verdicts = [
                pb.NodeVerdict(node=n, eligible=True, score=v.score, terms=v.terms)
                for n, v in self._cluster.nodes.items()
            ]
            return pb.SubmitReply(index=self._cluster.index, verdicts=verdicts)
        before = self._cluster.index
        task = self._cluster.accept(request.task)
        return pb.SubmitReply(id=task.id, deduplicated=self._cluster.index == before, index=self._cluster.index)

    def _SubmitBatch(self, request: pb.SubmitBatchRequest) -> pb.SubmitBatchReply:
        ids = [self._cluster.accept(task).id for task in request.tasks]
        return pb.SubmitBatchReply(ids=ids, deduplicated=[False] * len(ids), index=self._cluster.index)

    def _GetTask(self, request: pb.GetTaskRequest) -> pb.GetTaskReply:
        task = self._cluster.find(request.id)
        events = [event for event in self._cluster.events if event.task == task.id]
        told = self._cluster.progress.get(task.id)
        return pb.GetTaskReply(task=task, events=events, index=self._cluster.index, progress=told)

    def _ListTasks(self, request: pb.ListTasksRequest) -> pb.ListTasksReply:
        found = [
            task
            for task in reversed(self._cluster.tasks.values())
            if (not request.states or task.state in request.states)
            and (not request.node or task.node == request.node)
            and (not request.operation or task.operation == request.operation)
            and (request.text in f"{task.name} {task.id} {b' '.join(task.spec.argv).decode()}")
        ]
        begin = int(request.cursor or 0)
        page = found[begin : begin + (request.limit or 50)]
        more = begin + len(page) < len(found)
        return pb.ListTasksReply(
            tasks=map(without_output, page),
            total=len(found),
            next_cursor=str(begin + len(page)) if more else "",
            index=self._cluster.index,
        )

    def _ListEvents(self, request: pb.ListEventsRequest) -> pb.ListEventsReply:
        found = [
            event
            for event in self._cluster.events
            if event.at_us >= request.since_us and (not request.task or event.task == request.task)
        ]
        begin = int(request.cursor or 0)
        page = found[begin : begin + (request.limit or 50)]
        more = begin + len(page) < len(found)
        return pb.ListEventsReply(
            events=page, next_cursor=str(begin + len(page)) if more else "", index=self._cluster.index
        )

    def _change(
        self, request: Any, state: types.TaskState.ValueType, event: types.EventType.ValueType
    ) -> pb.MutationReply:
        tasks = [self._cluster.find(task_id) for task_id in request.ids]
        for task in tasks:
            ended = task.state in ENDED
            if ended == (state == types.TASK_STATE_CANCELLED and event == types.EVENT_TYPE_CANCELLED):
                raise Refusal("wrong_state", f"Task {task.id} has ended.", "Look at its present state first.")
        for task in tasks:
            copy = self._cluster.copy_of(task.id)
            copy.state = state
            if state in ENDED:
                copy.completed_at_us = self._cluster.now_us()
                self._cluster.outputs.setdefault(task.id, Output()).ended = True
            self._cluster.put(copy, event, getattr(request, "reason", ""))
        return self._done(request, [task.id for task in tasks])

    def _CancelTask(self, request: pb.CancelTaskRequest) -> pb.MutationReply:
        return self._change(request, types.TASK_STATE_CANCELLED, types.EVENT_TYPE_CANCELLED)

    def _ListNodes(self, request: pb.ListNodesRequest) -> pb.ListNodesReply:
        return pb.ListNodesReply(nodes=self._cluster.nodes.values(), index=self._cluster.index)

    def _cordon(self, request: pb.CordonNodeRequest, state: types.NodeState.ValueType) -> pb.MutationReply:
        if request.node not in self._cluster.nodes:
            raise Refusal("not_found", f"There is no node {request.node!r}.", "List the nodes with `cortex nodes`.")
        node = self._cluster.nodes[request.node].node
        node.state, node.message = state, request.message
        self._cluster.publish(types.Change(node=node))
        return self._done(request, [request.node])

    def _CordonNode(self, request: pb.CordonNodeRequest) -> pb.MutationReply:
        return self._cordon(request, types.NODE_STATE_CORDONED)

    def _UncordonNode(self, request: pb.CordonNodeRequest) -> pb.MutationReply:
        return self._cordon(request, types.NODE_STATE_ACTIVE)

    def _done(self, request: Any, ids: list[str]) -> pb.MutationReply:
        return pb.MutationReply(operation_id=request.mutation.request_id, index=self._cluster.index, ids=ids)

    def _Status(self, request: pb.StatusRequest) -> pb.StatusReply:
        cluster = self._cluster
        voters = [pb.VoterStatus(id=n, address=v.node.address, up=v.node.online) for n, v in cluster.nodes.items()]
        return pb.StatusReply(
            leader=cluster.leader,
            term=1,
            index=cluster.index,
            applied=cluster.index,
            voters=voters,
            workers=len(cluster.nodes),
            healthy=bool(cluster.leader),
            level=1,
            version="0.1.0",
            node=self._node,
            cluster_id="fake",
            alarms=[pb.NodeTrouble(node=n, alarm=v.node.alarm) for n, v in cluster.nodes.items() if v.node.alarm],
        )

    def _Why(self, request: pb.WhyRequest) -> pb.WhyReply:
        task = self._cluster.find(request.id)
        verdicts = [
            pb.NodeVerdict(node=n, eligible=False, reason="label gpu missing", flip="add label gpu")
            for n in self._cluster.nodes
        ]
        return pb.WhyReply(task=task, nodes=verdicts, index=self._cluster.index)

    def _TransferLeader(self, request: pb.TransferLeaderRequest) -> pb.TransferLeaderReply:
        others = [node for node in self._cluster.nodes if node != self._cluster.leader]
        self._cluster.leader = request.node or others[0]
        return pb.TransferLeaderReply(leader=self._cluster.leader, took_us=41_700, term=2)

    def _Finalize(self, request: pb.FinalizeRequest) -> pb.FinalizeReply:
        return pb.FinalizeReply(operation_id=request.mutation.request_id, index=9, level=2, was=1)

    async def Watch(self, request: pb.WatchRequest, context: Any) -> AsyncIterator[pb.WatchReply]:
        cluster = self._cluster
        await self._admit("Watch", request, context)
        position = request.after_index
        if request.snapshot:
            position = cluster.index
            live = [types.Change(task=task) for task in cluster.tasks.values() if task.state not in ENDED]
            nodes = [types.Change(node=view.node) for view in cluster.nodes.values()]
            yield pb.WatchReply(
                index=position, changes=nodes + live, snapshot_begin=True, snapshot_end=True, leader=cluster.leader
            )
        elif position + 1 < cluster.first_index:
            await abort(context, Refusal("gone", "That position is too old.", "Begin anew."))
        if request.samples:
            yield pb.WatchReply(index=position, samples=cluster.nodes.values(), leader=cluster.leader)
        while True:
            for reply in [reply for reply in cluster.log if reply.index > position]:
                shown = pb.WatchReply()
                shown.CopyFrom(reply)
                if not request.events:
                    del shown.changes[:]
                    shown.changes.extend(c for c in reply.changes if c.WhichOneof("row") != "event")
                for change in shown.changes:
                    if change.HasField("task"):
                        change.task.CopyFrom(without_output(change.task))
                yield shown
                position = reply.index
            if not any(reply.index > position for reply in cluster.log):
                await cluster.changed(HEARTBEAT_S)
            if cluster.heartbeats:
                yield pb.WatchReply(index=position, heartbeat=True, leader=cluster.leader, term=1)

    async def ListOutput(self, request: pb.ListOutputRequest, context: Any) -> AsyncIterator[pb.KeptOutput]:
        await self._admit("ListOutput", request, context)
        for kept in self._cluster.kept:
            yield kept

    async def SearchOutput(
        self, request: pb.SearchOutputRequest, context: Any
    ) -> AsyncIterator[pb.SearchOutputReply]:
        await self._admit("SearchOutput", request, context)
        for found in self._cluster.found:
            yield found

    async def Output(self, request: pb.OutputRequest, context: Any) -> AsyncIterator[pb.OutputReply]:
        cluster = self._cluster
        await self._admit("Output", request, context)
        try:
            task = cluster.find(request.id)
        except Refusal as refusal:
            await abort(context, refusal)
        both = request.stream == pb.STREAM_KIND_UNSPECIFIED
        offsets = {pb.STREAM_KIND_STDOUT: request.offset, pb.STREAM_KIND_STDERR: request.offset}
        if both:
            offsets[pb.STREAM_KIND_STDERR] = request.stderr_offset
        output = cluster.outputs.setdefault(task.id, Output())
        while True:
            ended = output.ended
            streams = {pb.STREAM_KIND_STDOUT: output.stdout, pb.STREAM_KIND_STDERR: output.stderr}
            for kind, data in streams.items():
                if (both or request.stream == kind) and len(data) > offsets[kind]:
                    piece = data[offsets[kind] :]
                    yield pb.OutputReply(stream=kind, offset=offsets[kind], data=piece, fence=task.fence)
                    offsets[kind] += len(piece)
            if ended or not request.follow:
                yield pb.OutputReply(ended=ended, fence=task.fence)
                return
            await cluster.changed(HEARTBEAT_S)


def _unary(method: str) -> Any:
    async def call(self: FakeServicer, request: Any, context: Any) -> Any:
        return await self.handle(method, request, context)

    return call


for _method in [
    name.removeprefix("_")
    for area in (FakeServicer, WorkflowServicer, OperationServicer, DrainServicer, MemberServicer)
    for name in vars(area)
    if name.startswith("_") and name[1].isupper()
]:
    setattr(FakeServicer, _method, _unary(_method))
FakeServicer.__abstractmethods__ = frozenset()


async def abort(context: Any, refusal: Refusal) -> None:
    await context.abort(
        _STATUS.get(refusal.code, grpc.StatusCode.INVALID_ARGUMENT),
        refusal.message,
        (
            ("cortex-code", refusal.code),
            ("cortex-message-bin", refusal.message.encode()),
            ("cortex-remedy-bin", refusal.remedy.encode()),
        ),
    )


class FakeDaemon:
    """Serves a FakeCluster at host:port or unix:PATH; several of them make a cluster that fails over."""

    def __init__(self, cluster: FakeCluster, address: str = "127.0.0.1:0", node: str = "n1") -> None:
        self.cluster, self.address, self.node = cluster, address, node
        self._server: grpc.aio.Server | None = None

    async def start(self) -> Self:
        options = (
            ("grpc.so_reuseport", 0),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
        )
        self._server = grpc.aio.server(options=options)
        cluster_pb2_grpc.add_ClusterServicer_to_server(FakeServicer(self.cluster, self.node), self._server)
        port = self._server.add_insecure_port(self.address)
        if self.address.endswith(":0"):
            self.address = f"127.0.0.1:{port}"
        await self._server.start()
        return self

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.stop(None)
            self._server = None

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(self, *_: object) -> None:
        await self.stop()


def socket_in(folder: Path) -> str:
    return f"unix:{folder / 'cortex.sock'}"
