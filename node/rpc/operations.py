"""Calls about operations: retry, discard, priority, run on nodes, undo, stop; causes of dead letters; notes."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

from cortex.v1 import cluster_pb2 as pb
from cortex.v1 import log_pb2, types_pb2
from cortex.v1.types_pb2 import Node, NodeState, Operation, TaskSpec
from node.core import checks, validate
from node.core.faults import Code, Fault
from node.core.operations import IDS_LIMIT, UNDO_WINDOW_US, WINDOW_LIMIT_US
from node.core.sandbox import level_name, offers_level
from node.link import Caller
from node.rpc.calls import Calls, Handlers, accepted, page_limit, refused_items
from node.rpc.history import shown
from node.rpc.views import lean_operation, without_output
from node.store.asof import At

# The id of an operation begins those of its tasks, which have 64 characters at most.
_ID_CHARS = 56


class OperationCalls(Calls):
    """Every method raises Fault."""

    def handlers(self) -> Handlers:
        return {
            "RetryTask": self.retry_task,
            "DiscardTask": self.discard_task,
            "SetPriority": self.set_priority,
            "RunOnNodes": self.run_on_nodes,
            "AnnotateTask": self.annotate_task,
            "ListCauses": self.list_causes,
            "ListOperations": self.list_operations,
            "GetOperation": self.get_operation,
            "UndoOperation": self.undo_operation,
            "StopOperation": self.stop_operation,
        }

    async def retry_task(self, request: pb.RetryTaskRequest, caller: Caller) -> pb.MutationReply:
        operation = Operation(kind=types_pb2.OPERATION_KIND_RETRY)
        operation.bulk.canary = request.canary
        await self._choose(operation, list(request.ids), request.fingerprint)
        if request.HasField("edited_spec"):
            operation.bulk.edited_spec.CopyFrom(self._edited(operation, request.edited_spec))
        default_us = UNDO_WINDOW_US if request.fingerprint else 0
        window_us = _window_us(request, default_us)
        return await self._start(operation, window_us, request.mutation, caller)

    async def discard_task(self, request: pb.CancelTaskRequest, caller: Caller) -> pb.MutationReply:
        reason = validate.reason(request.reason)
        if not reason:
            raise Fault(Code.INVALID, "A discard needs a reason.", "Say why in --reason.")
        operation = Operation(kind=types_pb2.OPERATION_KIND_DISCARD, reason=reason)
        await self._choose(operation, list(request.ids), request.fingerprint)
        return await self._start(operation, _window_us(request, UNDO_WINDOW_US), request.mutation, caller)

    async def set_priority(self, request: pb.SetPriorityRequest, caller: Caller) -> pb.MutationReply:
        operation = Operation(kind=types_pb2.OPERATION_KIND_PRIORITY)
        operation.bulk.priority = request.priority
        await self._choose(operation, list(request.ids), "")
        return await self._start(operation, _window_us(request, UNDO_WINDOW_US), request.mutation, caller)

    async def annotate_task(self, request: pb.AnnotateTaskRequest, caller: Caller) -> pb.MutationReply:
        note = log_pb2.TaskAnnotate(id=self._lookup.task(request.id).id, text=request.text)
        return await self._mutate([log_pb2.Command(task_annotate=note)], request.mutation, caller)

    async def run_on_nodes(self, request: pb.RunOnNodesRequest, caller: Caller) -> pb.RunOnNodesReply:
        """A follower may know less of the nodes than the leader; apply judges them once more."""
        if request.all == bool(request.nodes):
            raise Fault(Code.INVALID, "Either all nodes or some are named.", "Say --all, or --nodes A,B.")
        if request.task.submit_key or request.task.spec.constraints.target_node:
            message = "A command on many nodes has neither a submit key nor a target node."
            raise Fault(Code.INVALID, message, "Leave them out.")
        submit = validate.complete(request.task, self._parts.env.new_id(), self._lease_ms, self._sandbox)
        self._check_prompts([submit.spec])
        nodes, skipped = self._chosen_nodes(request, submit.spec)
        operation = Operation(kind=types_pb2.OPERATION_KIND_RUN)
        plan = operation.run
        plan.nodes.extend(nodes)
        plan.name, plan.priority = submit.name, submit.priority
        plan.spec.CopyFrom(submit.spec)
        reply = await self._start(operation, 0, request.mutation, caller)
        # A repeated request is answered for the nodes of the first time.
        begun = list(self._lookup.operation(reply.operation_id).run.nodes)
        return pb.RunOnNodesReply(
            operation_id=reply.operation_id,
            index=reply.index,
            nodes=begun,
            task_ids=reply.ids,
            skipped=[one for one in skipped if one.node not in begun],
        )

    async def list_causes(self, request: pb.ListCausesRequest, caller: Caller) -> pb.ListCausesReply:
        await self._fresh(request.freshness, saved=True)
        limit = page_limit(request.limit) if request.limit else 100
        moment = await self._moment(request.at)
        at: At | None = None
        if moment is not None:
            causes, then = await self._replica.read(lambda reads: reads.list_causes_at(limit, moment))
            at, index = then, then.index
        else:
            causes, index = self._replica.store.list_causes(limit)
        told = [
            pb.DeadLetterCause(
                fingerprint=cause.fingerprint,
                count=cause.count,
                first_at_us=cause.first_at_us,
                last_at_us=cause.last_at_us,
                nodes=cause.nodes,
                sample=without_output(cause.sample) if cause.sample is not None else None,
            )
            for cause in causes
        ]
        return pb.ListCausesReply(causes=told, index=index, **self._as_of(at))

    async def list_operations(self, request: pb.ListOperationsRequest, caller: Caller) -> pb.ListOperationsReply:
        await self._fresh(request.freshness, saved=True)
        moment = await self._moment(request.at)
        live, limit, cursor = request.live, page_limit(request.limit), request.cursor
        at: At | None = None
        if moment is not None:
            page, at = await self._replica.read(lambda reads: reads.list_operations_at(live, limit, cursor, moment))
        else:
            page = self._replica.store.list_operations(live=live, limit=limit, cursor=cursor)
        return pb.ListOperationsReply(
            operations=map(lean_operation, page.operations),
            next_cursor=page.next_cursor,
            index=page.index,
            **self._as_of(at),
        )

    async def get_operation(self, request: pb.GetOperationRequest, caller: Caller) -> pb.GetOperationReply:
        await self._fresh(request.freshness)
        moment = await self._moment(request.at)
        operation = self._lookup.operation(request.id)
        if moment is None:
            return pb.GetOperationReply(operation=operation, index=self._state.index, **self._as_of(None))
        was, at = await self._replica.read(lambda reads: reads.operation_at(operation.id, moment))
        if was is None:
            message = f"Operation {operation.id} was not there at index {at.index}."
            raise Fault(Code.NOT_FOUND, message, "List what was there with `cortex operations --at`.")
        return pb.GetOperationReply(operation=was, index=at.index, **self._as_of(at))

    def _as_of(self, at: At | None) -> dict[str, Any]:
        """Age and, of a view of the past, moment of a reply."""
        if at is None:
            return {"age_us": self._age_us()}
        return {"age_us": self._past_age_us(at), "at": shown(at)}

    async def undo_operation(self, request: pb.StopOperationRequest, caller: Caller) -> pb.MutationReply:
        return await self._stop(request, caller, undo=True)

    async def stop_operation(self, request: pb.StopOperationRequest, caller: Caller) -> pb.MutationReply:
        return await self._stop(request, caller, undo=False)

    async def _stop(self, request: pb.StopOperationRequest, caller: Caller, *, undo: bool) -> pb.MutationReply:
        operation = self._lookup.operation(request.id)
        stop = log_pb2.OperationStop(id=operation.id, reason=validate.reason(request.reason), undo=undo)
        return await self._mutate([log_pb2.Command(operation_stop=stop)], request.mutation, caller)

    async def _choose(self, operation: Operation, ids: list[str], fingerprint: str) -> None:
        """Which tasks a plan means."""
        if bool(ids) == bool(fingerprint):
            raise Fault(Code.INVALID, "Either tasks or a cause are named.", "Give ids, or --cause FINGERPRINT.")
        if fingerprint:
            # What is listed here may have been read from a daemon that is ahead of this one's store.
            await self._replica.saved_through(self._state.index)
            operation.bulk.fingerprint = self._lookup.cause(fingerprint)
            return
        if operation.bulk.canary:
            message = "A canary goes through the letters of one cause."
            raise Fault(Code.INVALID, message, "Name the cause with --cause, or leave --canary out.")
        if len(ids) > IDS_LIMIT:
            message = f"{len(ids)} tasks are named, the limit is {IDS_LIMIT}."
            raise Fault(Code.TOO_LARGE, message, "Name fewer at a time, or a cause of dead letters.")
        operation.bulk.ids.extend(self._lookup.task_ids(ids))

    def _edited(self, operation: Operation, spec: TaskSpec) -> TaskSpec:
        """A specification that replaces a task's own, checked as if it were submitted."""
        if len(operation.bulk.ids) != 1:
            raise Fault(Code.INVALID, "One task at a time is edited.", "Name one id.")
        task = self._lookup.task(operation.bulk.ids[0])
        request = pb.TaskRequest(name=task.name, priority=task.priority, spec=spec)
        edited = validate.complete(request, task.id, self._lease_ms, self._sandbox).spec
        self._check_prompts([edited])
        return edited

    def _chosen_nodes(
        self, request: pb.RunOnNodesRequest, spec: TaskSpec
    ) -> tuple[list[str], list[pb.NodeVerdict]]:
        """Those to run on, and with all those that are left out."""
        rows = self._state.nodes
        ids = sorted(rows) if request.all else list(dict.fromkeys(map(self._lookup.node_id, request.nodes)))
        obstacles = {node_id: why for node_id in ids if (why := _obstacle(rows[node_id], spec))}
        nodes = [node_id for node_id in ids if node_id not in obstacles]
        if obstacles and not request.all:
            told = ", ".join(f"{node_id} {why}" for node_id, why in list(obstacles.items())[:5])
            raise Fault(Code.WRONG_STATE, f"Nothing was run: {told}.", "Leave those nodes out, or say --all.")
        if not nodes:
            raise Fault(Code.WRONG_STATE, "No node can run it now.", "See `cortex nodes`.")
        skipped = [
            pb.NodeVerdict(node=node_id, reason=why)
            for node_id, why in obstacles.items()
            if rows[node_id].state != types_pb2.NODE_STATE_REMOVED
        ]
        return nodes, skipped

    async def _start(
        self, operation: Operation, window_us: int, mutation: pb.Mutation, caller: Caller
    ) -> pb.MutationReply:
        """Commit an operation under the request's id; with tasks that were named and left alone, say which."""
        request_id = validate.request_id(mutation.request_id) or self._parts.env.new_id()
        client = mutation.client or caller.actor
        operation.id = _operation_id(client, request_id)
        start = log_pb2.OperationStart(operation=operation, undo_window_us=window_us)
        command = log_pb2.Command(operation_start=start)
        reply = await self._replica.execute([command], client=client, request_id=request_id, actor=caller.actor)
        answer = accepted(reply, [command])[0]
        refused_items(answer)
        ids = [item.id for item in answer.items] or operation.bulk.ids
        return pb.MutationReply(operation_id=answer.id, index=reply.index, ids=ids)


def _operation_id(client: str, request_id: str) -> str:
    if checks.is_id(request_id) and len(request_id) <= _ID_CHARS:
        return request_id
    return sha256(f"{client}\0{request_id}".encode()).hexdigest()[:24]


def _window_us(request: pb.RetryTaskRequest | pb.CancelTaskRequest | pb.SetPriorityRequest, default_us: int) -> int:
    if not request.HasField("undo_window_ms"):
        return default_us
    window_us = request.undo_window_ms * 1000
    if not 0 <= window_us <= WINDOW_LIMIT_US:
        message = f"undo_window_ms is {request.undo_window_ms}."
        raise Fault(Code.INVALID, message, f"It goes from 0 to {WINDOW_LIMIT_US // 1000}.")
    return window_us


def _obstacle(node: Node, spec: TaskSpec) -> str:
    """Why nothing is run there; empty when it can be."""
    if node.state != types_pb2.NODE_STATE_ACTIVE:
        return f"is {NodeState.Name(node.state).removeprefix('NODE_STATE_').lower()}"
    if not node.online:
        return "is offline"
    if not any(offer.type == spec.type and offer.count for offer in node.slots):
        return f"has no slots for {checks.type_name(spec.type)} tasks"
    if not offers_level(node, spec.sandbox):
        return f"does not offer sandbox level {level_name(spec.sandbox)}"
    return ""
