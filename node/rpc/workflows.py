"""Calls about workflows: submit, list, get, cancel, resume."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from cortex.v1 import cluster_pb2 as pb
from cortex.v1 import log_pb2
from cortex.v1.types_pb2 import Task, Workflow
from node.core import validate, workflow
from node.core.faults import Code, Fault
from node.core.model import Key, Row, Table, member_id
from node.core.transitions import workflows
from node.core.transitions.draft import Draft, Refusal
from node.link import Caller
from node.replica import Replica
from node.rpc.calls import Calls, Handlers, accepted, page_limit
from node.rpc.errors import from_reply
from node.rpc.history import shown
from node.rpc.views import lean_workflow, without_output
from node.store.asof import At
from node.store.moment_workflows import WorkflowQuery

# Of one answer, whose limit is 4 MiB.
_REPLY_BYTES = 3 * 1024 * 1024
# Reads of a workflow that is resumed meanwhile; a live one is in memory.
_TRIES = 3
# What an answer that is too large leaves out, first to last; GetTask has it.
_BULKY = ("spec", "failures", "annotations", "condition")


class WorkflowCalls(Calls):
    """Every method raises Fault."""

    def handlers(self) -> Handlers:
        return {
            "SubmitWorkflow": self.submit,
            "ListWorkflows": self.list,
            "GetWorkflow": self.get,
            "CancelWorkflow": self.cancel,
            "ResumeWorkflow": self.resume,
        }

    async def submit(self, request: pb.SubmitWorkflowRequest, caller: Caller) -> pb.SubmitWorkflowReply:
        submit = workflow.complete(request, self._parts.env.new_id(), self._lease_ms, self._sandbox)
        self._check_prompts(task.spec for task in submit.tasks)
        count = len(submit.tasks)
        await self._check_conditions(submit)
        if request.dry_run:
            return pb.SubmitWorkflowReply(index=self._state.index, tasks=count)
        command = log_pb2.Command(workflow_submit=submit)
        answer = accepted(reply := await self._execute([command], request.mutation, caller), [command])[0]
        return pb.SubmitWorkflowReply(
            id=answer.id, deduplicated=answer.deduplicated, index=reply.index, tasks=count
        )

    async def _check_conditions(self, submit: log_pb2.WorkflowSubmit) -> None:
        conditions = {
            task.condition: task.template or task.key for task in reversed(submit.tasks) if task.condition
        }
        flaw = await self._parts.leadership.condition_flaw(sorted(conditions))
        if flaw is not None:
            condition, why = flaw
            message = f"Task {conditions[condition]!r}: condition is no JavaScript expression: {why}."
            raise Fault(Code.INVALID, message, "Write one, as parent.build.exitCode === 0.")

    async def list(self, request: pb.ListWorkflowsRequest, caller: Caller) -> pb.ListWorkflowsReply:
        await self._fresh(request.freshness, saved=True)
        moment = await self._moment(request.at)
        query = WorkflowQuery(
            states=tuple(request.states), text=request.text, limit=page_limit(request.limit), cursor=request.cursor
        )
        at: At | None = None
        if moment is not None:
            page, at = await self._replica.read(lambda reads: reads.list_workflows_at(query, moment))
        elif query.text:
            page = await self._replica.read(lambda reads: reads.list_workflows(query))
        else:
            page = self._replica.store.list_workflows(query)
        return pb.ListWorkflowsReply(
            workflows=map(lean_workflow, page.workflows),
            total=page.total,
            next_cursor=page.next_cursor,
            index=page.index,
            age_us=self._age_us() if at is None else self._past_age_us(at),
            at=None if at is None else shown(at),
        )

    async def get(self, request: pb.GetWorkflowRequest, caller: Caller) -> pb.GetWorkflowReply:
        await self._fresh(request.freshness)
        moment = await self._moment(request.at)
        row = self._lookup.workflow(request.id)
        if moment is None:
            # A watch that goes on from this index must see all that is not in these rows.
            index, row, tasks = await _members(self._replica, row)
            status = _status(row, await self._with_reasons(tasks, caller))
            return pb.GetWorkflowReply(status=status, index=index, age_us=self._age_us())
        was, tasks, at = await self._replica.read(lambda reads: reads.workflow_at(row.id, moment))
        if was is None:
            message = f"Workflow {row.id} was not there at index {at.index}."
            raise Fault(Code.NOT_FOUND, message, f"Look at its events: `cortex events --workflow {row.id}`.")
        return pb.GetWorkflowReply(
            status=_status(was, tasks), index=at.index, age_us=self._past_age_us(at), at=shown(at)
        )

    async def cancel(self, request: pb.CancelWorkflowRequest, caller: Caller) -> pb.MutationReply:
        row = self._lookup.workflow(request.id)
        cancel = log_pb2.WorkflowCancel(id=row.id, reason=validate.reason(request.reason))
        with _named(row):
            return await self._mutate([log_pb2.Command(workflow_cancel=cancel)], request.mutation, caller)

    async def resume(self, request: pb.ResumeWorkflowRequest, caller: Caller) -> pb.MutationReply:
        row = self._lookup.workflow(request.id)
        resume = log_pb2.WorkflowResume(id=row.id, key=request.key)
        with _named(row):
            if request.dry_run:
                return self._rehearse(resume)
            command = log_pb2.Command(workflow_resume=resume)
            reply = await self._execute([command], request.mutation, caller)
            ids = [item.id for item in accepted(reply, [command])[0].items]
            return pb.MutationReply(operation_id=request.mutation.request_id, index=reply.index, ids=ids)

    def _rehearse(self, resume: log_pb2.WorkflowResume) -> pb.MutationReply:
        entry = log_pb2.Entry(commands=[log_pb2.Command(workflow_resume=resume)])
        draft = Draft(self._state, self._replica.cold_rows(entry), entry, self._state.index)
        found = workflows.rehearse(draft, resume)
        if isinstance(found, Refusal):
            raise from_reply(found.code, found.message)
        return pb.MutationReply(index=self._state.index, ids=found)


@contextmanager
def _named(row: Workflow) -> Iterator[None]:
    """A refusal of what `row` does not allow says where to look."""
    try:
        yield
    except Fault as fault:
        if fault.code in (Code.WRONG_STATE, Code.NOT_FOUND):
            fault.remedy = f"Look at it with `cortex workflow show {row.id}`."
        raise


async def _members(replica: Replica, row: Workflow) -> tuple[int, Workflow, list[Task]]:
    """An index, and the workflow with its tasks, by number, as of then; a long ended one is read off the loop."""
    for _ in range(_TRIES):
        index = replica.state.index
        row = replica.workflow(row.id) or row
        keys = [Key(Table.TASKS, member_id(row.id, number)) for number in range(row.count)]
        found: dict[str, Row | None] = {}
        for key in keys:
            live = replica.state.tasks.get(key.id)
            waits, unsaved = replica.saver.peek(key)
            if live is not None or waits:
                found[key.id] = live or unsaved
        if len(found) < len(keys):
            stored = await _stored(replica, row.id)
            missing = [task for task in stored if task.id not in found]
            if any(task.modified_index > index for task in missing):
                continue
            found.update((task.id, task) for task in missing)
        return index, row, [task for key in keys if isinstance(task := found.get(key.id), Task)]
    raise Fault(Code.OVERLOADED, f"Workflow {row.id} changed while it was read.", "Ask again.")


async def _stored(replica: Replica, workflow_id: str) -> list[Task]:
    return await replica.read(lambda reads: reads.members(workflow_id))


def _status(row: Workflow, tasks: list[Task]) -> pb.WorkflowStatus:
    """As much of all tasks as one answer holds."""
    status = pb.WorkflowStatus(workflow=row, tasks=map(without_output, tasks))
    for name in _BULKY:
        if status.ByteSize() > _REPLY_BYTES:
            for task in status.tasks:
                task.ClearField(name)  # type: ignore[arg-type]
    return status
