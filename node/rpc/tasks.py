"""Calls about single tasks and lists of them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from cortex.v1 import cluster_pb2 as pb
from cortex.v1 import log_pb2, types_pb2
from node.core import payload, validate
from node.link import Caller
from node.rpc import batch
from node.rpc.calls import Calls, Handlers, Parts, accepted


class TaskCalls(Calls):
    """Every method raises Fault."""

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts)
        self._batches: set[asyncio.Future[batch.Answers]] = set()

    def handlers(self) -> Handlers:
        return {
            "Submit": self.submit,
            "SubmitBatch": self.submit_batch,
            "DispatchSubagents": self.dispatch_subagents,
            "CancelTask": self.cancel_task,
        }

    async def submit(self, request: pb.SubmitRequest, caller: Caller) -> pb.SubmitReply:
        submit = validate.complete(request.task, self._parts.env.new_id(), self._lease_ms, self._sandbox)
        self._check_prompts([submit.spec])
        if request.dry_run:
            return await self._dry_run(request, submit, caller)
        command = log_pb2.Command(task_submit=submit)
        with self._parts.leadership.placing(submit) as more:
            reply = await self._execute([command, *more], request.mutation, caller)
        # The first answer is the submission's; what else was tried, the queue makes up for.
        answer = accepted(log_pb2.Reply(commands=reply.commands[:1]), [command])[0]
        return pb.SubmitReply(id=answer.id, deduplicated=answer.deduplicated, index=reply.index)

    async def submit_batch(self, request: pb.SubmitBatchRequest, caller: Caller) -> pb.SubmitBatchReply:
        """Goes on to the last part even if the caller goes away: what has begun is to become whole."""
        submits = await batch.checked(request.tasks, self._parts.env.new_id, self._lease_ms, self._sandbox)
        self._check_prompts(submit.spec for submit in submits)
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

    async def dispatch_subagents(self, request: pb.DispatchSubagentsRequest, caller: Caller) -> pb.SubmitBatchReply:
        tasks = payload.subagents(request)
        self._check_prompts([tasks[0].spec])
        batch_request = pb.SubmitBatchRequest(mutation=request.mutation, tasks=tasks)
        return await self.submit_batch(batch_request, caller)

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
