"""The Cluster service without a transport: check, propose, translate. gRPC and the simulator both call it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from google.protobuf.message import Message

from cortex.v1 import cluster_pb2 as pb
from cortex.v1 import log_pb2, types_pb2
from node import __version__
from node.consensus.port import NotLeader
from node.core import validate
from node.core.faults import Code, Fault
from node.core.model import LIVE, ClusterState
from node.env import Env
from node.leader.leadership import Leadership
from node.link import Caller, Link, LinkClosed
from node.replica import Replica, no_leader
from node.rpc import batch
from node.rpc.errors import from_reply, link_lost
from node.rpc.lookup import Lookup
from node.rpc.views import without_output
from node.store.queries import EventQuery, TaskQuery

M = TypeVar("M", bound=Message)
_FORWARD_S = 8.0
_MAX_HOPS = 2
_QUIET_LIMIT_MS = 60_000
_PAGE_BYTES = 3 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Parts:
    """What the service stands on, in a daemon that votes."""

    env: Env
    node_id: str
    cluster_id: str
    replica: Replica
    leadership: Leadership
    link: Link
    address_of: Callable[[str], str | None]


class ClusterService:
    """Unary calls of cortex.v1.Cluster on a voter. Every method raises Fault."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._replica = parts.replica
        self._lookup = Lookup(parts.replica)
        self._batches: set[asyncio.Future[batch.Answers]] = set()

    @property
    def _state(self) -> ClusterState:
        return self._replica.state

    # Changes

    async def submit(self, request: pb.SubmitRequest, caller: Caller) -> pb.SubmitReply:
        submit = validate.complete(request.task, self._parts.env.new_id())
        if request.dry_run:
            return await self._dry_run(request, submit, caller)
        reply = await self._execute([log_pb2.Command(task_submit=submit)], request.mutation, caller)
        answer = _accepted(reply)[0]
        return pb.SubmitReply(id=answer.id, deduplicated=answer.deduplicated, index=reply.index)

    async def submit_batch(self, request: pb.SubmitBatchRequest, caller: Caller) -> pb.SubmitBatchReply:
        """Goes on to the last part even if the caller goes away: what has begun is to become whole."""
        submits = await batch.checked(request.tasks, self._parts.env.new_id)
        request_id = validate.request_id(request.mutation.request_id) or self._parts.env.new_id()

        async def execute(
            commands: Sequence[log_pb2.Command], part_id: str, part: log_pb2.BatchPart | None
        ) -> log_pb2.Reply:
            client = request.mutation.client or caller.actor
            return await self._replica.execute(
                commands, client=client, request_id=part_id, actor=caller.actor, batch=part
            )

        work = asyncio.ensure_future(batch.submit(submits, request_id, execute))
        self._batches.add(work)
        work.add_done_callback(self._batch_ended)
        answers, index = await asyncio.shield(work)
        return pb.SubmitBatchReply(
            ids=[answer.id for answer in answers],
            deduplicated=[answer.deduplicated for answer in answers],
            index=index,
        )

    def _batch_ended(self, work: asyncio.Future[batch.Answers]) -> None:
        self._batches.discard(work)
        if not work.cancelled():
            work.exception()  # its caller has it, or is gone

    async def cancel_task(self, request: pb.CancelTaskRequest, caller: Caller) -> pb.MutationReply:
        reason = validate.reason(request.reason)
        commands = [
            log_pb2.Command(task_cancel=log_pb2.TaskCancel(id=task_id, reason=reason))
            for task_id in self._lookup.task_ids(request.ids)
        ]
        return await self._mutate(commands, request.mutation, caller)

    async def discard_task(self, request: pb.CancelTaskRequest, caller: Caller) -> pb.MutationReply:
        reason = validate.reason(request.reason)
        if not reason:
            raise Fault(Code.INVALID, "A discard needs a reason.", "Say why in --reason.")
        commands = [
            log_pb2.Command(task_cancel=log_pb2.TaskCancel(id=task_id, reason=reason, discard=True))
            for task_id in self._lookup.task_ids(request.ids)
        ]
        return await self._mutate(commands, request.mutation, caller)

    async def retry_task(self, request: pb.RetryTaskRequest, caller: Caller) -> pb.MutationReply:
        commands = [
            log_pb2.Command(task_retry=log_pb2.TaskRetry(id=task_id))
            for task_id in self._lookup.task_ids(request.ids)
        ]
        return await self._mutate(commands, request.mutation, caller)

    async def cordon_node(self, request: pb.CordonNodeRequest, caller: Caller) -> pb.MutationReply:
        return await self._cordon(request, caller, cordoned=True)

    async def uncordon_node(self, request: pb.CordonNodeRequest, caller: Caller) -> pb.MutationReply:
        return await self._cordon(request, caller, cordoned=False)

    async def transfer_leader(self, request: pb.TransferLeaderRequest, caller: Caller) -> pb.TransferLeaderReply:
        if not self._replica.serving:
            return await self._ask_leader("TransferLeader", request, pb.TransferLeaderReply, caller)
        target = self._lookup.node_id(request.node) if request.node else None
        if target is not None and target not in {peer.id for peer in self._replica.consensus.peers}:
            raise Fault(Code.INVALID, f"{target} does not vote.", "Choose one of `cortex voters list`.")
        try:
            leader = await self._replica.consensus.transfer(target)
        except NotLeader:
            raise no_leader() from None
        except TimeoutError:
            message = "No other voter took over in time; this one leads on."
            raise Fault(Code.DEADLINE, message, "See in `cortex status` which voters are up.") from None
        return pb.TransferLeaderReply(leader=leader)

    async def quiesce(self, request: pb.QuiesceRequest, caller: Caller) -> pb.QuiesceReply:
        """Concerns this daemon alone: it is about to stop."""
        if not 1 <= request.hold_ms <= _QUIET_LIMIT_MS or not 0 <= request.wait_ms <= request.hold_ms:
            message = f"hold_ms is {request.hold_ms} and wait_ms {request.wait_ms}."
            remedy = f"hold_ms goes from 1 to {_QUIET_LIMIT_MS}, wait_ms from 0 to hold_ms."
            raise Fault(Code.INVALID, message, remedy)
        counts = await self._parts.leadership.quiesce(request.hold_ms * 1000, request.wait_ms * 1000)
        return pb.QuiesceReply(led=True, migrated=counts[0], left=counts[1]) if counts else pb.QuiesceReply()

    # Reads

    async def get_task(self, request: pb.GetTaskRequest, caller: Caller) -> pb.GetTaskReply:
        await self._fresh(request.freshness)
        task = self._lookup.task(request.id)
        stored = self._replica.store.list_events(EventQuery(task=task.id, limit=1000)).events
        known = {event.id for event in stored}
        events = [*stored, *(e for e in self._replica.unsaved_events(task.id) if e.id not in known)]
        return pb.GetTaskReply(task=task, events=events, index=self._state.index, age_us=self._age_us())

    async def list_tasks(self, request: pb.ListTasksRequest, caller: Caller) -> pb.ListTasksReply:
        await self._fresh(request.freshness, saved=True)
        query = TaskQuery(
            states=tuple(request.states),
            node=self._lookup.node_id(request.node) if request.node else "",
            workflow=request.workflow,
            text=request.text,
            limit=_limit(request.limit),
            cursor=request.cursor,
        )
        while True:
            page = self._replica.store.list_tasks(query)
            reply = pb.ListTasksReply(
                tasks=[without_output(task) for task in page.tasks],
                total=page.total,
                next_cursor=page.next_cursor,
                index=page.index,
                age_us=self._age_us(),
            )
            # Rows with large specifications: a shorter page is a page too.
            if reply.ByteSize() <= _PAGE_BYTES or len(page.tasks) <= 1:
                return reply
            query = replace(query, limit=len(page.tasks) // 2)

    async def list_events(self, request: pb.ListEventsRequest, caller: Caller) -> pb.ListEventsReply:
        await self._fresh(request.freshness, saved=True)
        query = EventQuery(
            task=self._lookup.task(request.task).id if request.task else "",
            node=self._lookup.node_id(request.node) if request.node else "",
            since_us=request.since_us,
            limit=_limit(request.limit),
            cursor=request.cursor,
        )
        page = self._replica.store.list_events(query)
        return pb.ListEventsReply(
            events=page.events, next_cursor=page.next_cursor, index=page.index, age_us=self._age_us()
        )

    async def list_nodes(self, request: pb.ListNodesRequest, caller: Caller) -> pb.ListNodesReply:
        """Samples are only on the leader; without one the rows are shown alone."""
        await self._fresh(request.freshness)
        if not self._replica.serving:
            try:
                return await self._ask_leader("ListNodes", request, pb.ListNodesReply, caller)
            except Fault as fault:
                if fault.code != Code.NO_LEADER:
                    raise
        return pb.ListNodesReply(nodes=self.node_views(), index=self._state.index, age_us=self._age_us())

    def node_views(self) -> list[pb.NodeView]:
        if self._replica.serving:
            return self._parts.leadership.node_views()
        return [
            pb.NodeView(node=node, age_us=-1, leader=node.id == self._replica.leader)
            for _, node in sorted(self._state.nodes.items())
        ]

    async def why(self, request: pb.WhyRequest, caller: Caller) -> pb.WhyReply:
        await self._fresh(request.freshness)
        if not self._replica.serving:
            return await self._ask_leader("Why", request, pb.WhyReply, caller)
        task = self._lookup.task(request.id)
        return pb.WhyReply(task=task, nodes=self._parts.leadership.why(task), index=self._state.index)

    async def status(self, request: pb.StatusRequest, caller: Caller) -> pb.StatusReply:
        consensus = self._replica.consensus
        if not self._replica.serving and self._replica.leader and caller.hops == 0:
            try:
                reply = await self._ask_leader("Status", request, pb.StatusReply, caller)
            except Fault:
                pass
            else:
                # Who is up only the leader knows; what is applied here only this daemon does.
                reply.node, reply.applied = self._parts.node_id, self._state.index
                reply.digest = self._state.digest_bytes().hex()
                return reply
        voters = [
            pb.VoterStatus(id=peer.id, address=peer.address, up=peer.up, match_index=peer.match_index)
            for peer in consensus.peers
        ]
        healthy = self._replica.serving and sum(voter.up for voter in voters) * 2 > len(voters)
        return pb.StatusReply(
            leader=self._replica.leader or "",
            term=self._replica.term,
            index=consensus.commit_index,
            applied=self._state.index,
            voters=voters,
            workers=sum(node.online for node in self._state.nodes.values()),
            healthy=healthy,
            level=self._state.level,
            version=__version__,
            node=self._parts.node_id,
            digest=self._state.digest_bytes().hex(),
            cluster_id=self._parts.cluster_id,
            tasks=_live_counts(self._state),
        )

    # Helpers

    async def _execute(
        self, commands: Sequence[log_pb2.Command], mutation: pb.Mutation, caller: Caller
    ) -> log_pb2.Reply:
        request_id = validate.request_id(mutation.request_id)
        return await self._replica.execute(
            commands,
            client=mutation.client or caller.actor,
            request_id=request_id or self._parts.env.new_id(),
            actor=caller.actor,
        )

    async def _mutate(
        self, commands: Sequence[log_pb2.Command], mutation: pb.Mutation, caller: Caller
    ) -> pb.MutationReply:
        reply = await self._execute(commands, mutation, caller)
        ids = [answer.id for answer in _accepted(reply)]
        return pb.MutationReply(operation_id=mutation.request_id, index=reply.index, ids=ids)

    async def _cordon(self, request: pb.CordonNodeRequest, caller: Caller, *, cordoned: bool) -> pb.MutationReply:
        node_id = self._lookup.node_id(request.node)
        cordon = log_pb2.NodeCordon(id=node_id, cordoned=cordoned, message=validate.reason(request.message))
        return await self._mutate([log_pb2.Command(node_cordon=cordon)], request.mutation, caller)

    async def _dry_run(
        self, request: pb.SubmitRequest, submit: log_pb2.TaskSubmit, caller: Caller
    ) -> pb.SubmitReply:
        if not self._replica.serving:
            return await self._ask_leader("Submit", request, pb.SubmitReply, caller)
        task = types_pb2.Task(
            id=submit.id,
            name=submit.name,
            priority=submit.priority,
            spec=submit.spec,
            state=types_pb2.TASK_STATE_QUEUED,
        )
        return pb.SubmitReply(verdicts=self._parts.leadership.why(task), index=self._state.index)

    async def _ask_leader(self, method: str, request: Message, kind: type[M], caller: Caller) -> M:
        leader = self._replica.leader
        address = self._parts.address_of(leader) if leader else None
        if address is None or leader == self._parts.node_id or caller.hops >= _MAX_HOPS:
            raise no_leader()
        try:
            reply = await self._parts.link.call(address, method, request, _FORWARD_S, caller.forwarded())
        except LinkClosed:
            raise link_lost(request) from None
        if not isinstance(reply, kind):
            raise TypeError(f"{method} answered {type(reply).__name__}")
        return reply

    async def _fresh(self, freshness: pb.Freshness, *, saved: bool = False) -> None:
        if freshness.min_index:
            wait = self._replica.saved_through if saved else self._replica.applied_through
            await wait(freshness.min_index)

    def _age_us(self) -> int:
        """How long ago this daemon last heard of the log; 0 on the leader."""
        return 0 if self._replica.serving else max(0, self._replica.now_us() - self._state.at_us)


def _accepted(reply: log_pb2.Reply) -> Sequence[log_pb2.CommandReply]:
    """The answers, if all commands were accepted; else a Fault that says how many were."""
    refused = [answer for answer in reply.commands if not answer.accepted]
    if not refused:
        return reply.commands
    first = from_reply(refused[0].code, refused[0].message)
    if len(reply.commands) == 1:
        raise first
    done = len(reply.commands) - len(refused)
    message = f"{done} of {len(reply.commands)} were changed; refused: " + " ".join(
        answer.message for answer in refused[:5]
    )
    raise Fault(first.code, message, first.remedy)


def _limit(limit: int) -> int:
    if limit < 0 or limit > 1000:
        raise Fault(Code.INVALID, f"limit {limit} is not between 1 and 1000.", "Page with cursor instead.")
    return limit or 50


def _live_counts(state: ClusterState) -> dict[str, int]:
    names = types_pb2.TaskState.Name
    return {
        names(types_pb2.TaskState.ValueType(number)).removeprefix("TASK_STATE_").lower(): count
        for number, count in sorted(state.counts.items())
        if number in LIVE
    }
