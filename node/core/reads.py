"""Which rows an entry may need that are not in memory, so that apply itself stays pure."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Sequence

from cortex.v1.log_pb2 import Command, Entry, WorkflowSubmit
from cortex.v1.types_pb2 import SubmitKey, Task, Workflow
from node.core import operations, workflow_checks
from node.core.machine import TASK_COMMANDS, task_of
from node.core.model import LIVE_WORKFLOW, Change, Key, Row, Table, member_id, reply_key
from node.core.state import ClusterState
from node.core.transitions import cluster
from node.core.transitions.draft import Cold

# Those that may end a task, or revive it, and with it its submit key.
_TOUCH_KEYS = TASK_COMMANDS - {
    "task_assign",
    "task_started",
    "task_escalate",
    "task_ready",
    "task_priority",
    "task_annotate",
}
_OPERATION_COMMANDS = frozenset({"operation_start", "operation_advance", "operation_stop"})


def reads(entry: Entry, known: Container[str] = ()) -> set[Key]:
    """Rows of tasks, submit keys, replies and events that apply may look at; what memory lacks is to be loaded.

    Tasks whose ids are `known` are left out.
    """
    keys: set[Key] = set()
    if entry.request_id:
        keys.add(Key(Table.REPLIES, reply_key(entry.client, entry.request_id)))
    for command in entry.commands:
        kind = command.WhichOneof("kind")
        if kind == "task_submit":
            keys.add(Key(Table.TASKS, command.task_submit.id))
            if command.task_submit.submit_key:
                keys.add(Key(Table.SUBMIT_KEYS, command.task_submit.submit_key))
        elif kind in TASK_COMMANDS or kind in _OPERATION_COMMANDS:
            for task_id in tasks_of(command):
                if task_id not in known:
                    keys.add(Key(Table.TASKS, task_id))
            if kind in _OPERATION_COMMANDS:
                keys.add(Key(Table.OPERATIONS, _operation_of(command)))
        elif kind == "history_trim" and cluster.trim_size(command.history_trim) <= cluster.TRIM_LIMIT:
            trim = command.history_trim
            keys.update(Key(Table.TASKS, task_id) for task_id in trim.ids)
            keys.update(Key(Table.EVENTS, event_id) for event_id in trim.event_ids)
            keys.update(Key(Table.REPLIES, reply_key(ref.client, ref.request_id)) for ref in trim.requests)
            keys.update(Key(Table.SUBMIT_KEYS, key) for key in trim.submit_keys)
            keys.update(Key(Table.DOUBLE_RUNS, line) for line in trim.double_runs)
            keys.update(Key(Table.OPERATIONS, operation_id) for operation_id in trim.operations)
            keys.update(Key(Table.WORKFLOWS, workflow_id) for workflow_id in trim.workflows)
        elif kind == "workflow_submit":
            keys |= _of_submission(command.workflow_submit)
        elif kind == "workflow_cancel":
            keys.add(Key(Table.WORKFLOWS, command.workflow_cancel.id))
        elif kind == "workflow_resume":
            keys.add(Key(Table.WORKFLOWS, command.workflow_resume.id))
    keys.update(Key(Table.SUBMIT_KEYS, item.key) for item in entry.batch.keys)
    return keys


def _of_submission(submit: WorkflowSubmit) -> set[Key]:
    """What must not be there yet, and its submit key."""
    keys = {Key(Table.WORKFLOWS, submit.id)}
    count = min(len(submit.tasks), workflow_checks.TASKS_LIMIT)
    keys.update(Key(Table.TASKS, member_id(submit.id, number)) for number in range(count))
    if submit.submit_key:
        keys.add(Key(Table.SUBMIT_KEYS, submit.submit_key))
    return keys


def tasks_of(command: Command) -> list[str]:
    """Ids of the tasks that a command other than a submission or a trim may change."""
    kind = command.WhichOneof("kind")
    if kind in TASK_COMMANDS:
        return [task_of(kind, getattr(command, kind))]
    if kind == "operation_advance":
        return list(command.operation_advance.ids[: operations.PAGE_LIMIT])
    if kind == "operation_start":
        asked = command.operation_start.operation
        made = (member_id(asked.id, number) for number in range(min(len(asked.run.nodes), operations.IDS_LIMIT)))
        return [*asked.bulk.ids[: operations.IDS_LIMIT], *made]
    return []


def _operation_of(command: Command) -> str:
    kind = command.WhichOneof("kind")
    if kind == "operation_start":
        return command.operation_start.operation.id
    return command.operation_advance.id if kind == "operation_advance" else command.operation_stop.id


def gather(
    entries: Sequence[Entry], state: ClusterState, load: Callable[[Iterable[Key]], dict[Key, Row | None]]
) -> dict[Key, Row | None]:
    """The rows of reads() and follow() of all `entries` that memory lacks, by way of `load`."""
    unusual = [entry for entry in entries if not _is_all_here(entry, state)]
    if not unusual:
        return {}
    wanted = set().union(*(reads(entry, state.tasks) for entry in unusual))
    cold = load(key for key in wanted if key.table is not Table.TASKS or key.id not in state.tasks)
    # A task names its workflow, which names its tasks, which name their submit keys.
    while more := set().union(*(follow(entry, state, cold) for entry in unusual)) - wanted:
        wanted |= more
        cold.update(load(more))
    return cold


def _is_all_here(entry: Entry, state: ClusterState) -> bool:
    """Whether reads() and follow() would name nothing: it is about live tasks that stand by themselves."""
    if entry.request_id or entry.HasField("batch"):
        return False
    tasks = state.tasks
    for command in entry.commands:
        kind = command.WhichOneof("kind")
        if kind not in TASK_COMMANDS:
            return False
        task = tasks.get(task_of(kind, getattr(command, kind)))
        if task is None or task.submit_key or task.operation or task.workflow_id:
            return False
    return True


def adopted(changes: Iterable[Change], cold: Cold) -> Iterator[Task]:
    """Members of workflows that live again by `changes`: apply has had them as cold rows, memory needs them now."""
    for change in changes:
        new, old = change.new, change.old
        if isinstance(new, Workflow) and isinstance(old, Workflow) and old.state not in LIVE_WORKFLOW:
            members = (cold.get(Key(Table.TASKS, member_id(new.id, one))) for one in range(new.count))
            yield from (row for row in members if isinstance(row, Task))


def follow(entry: Entry, state: ClusterState, cold: Cold) -> set[Key]:
    """Further keys, which the rows of reads() name: a submit key's task, a task's submit key and workflow."""
    keys: set[Key] = set()

    def workflow_of(workflow_id: str) -> None:
        """With all its members, unless they are in memory: it may live again."""
        if workflow_id not in state.workflows:
            keys.add(Key(Table.WORKFLOWS, workflow_id))
        row = state.workflows.get(workflow_id) or cold.get(Key(Table.WORKFLOWS, workflow_id))
        if not isinstance(row, Workflow):
            return
        if row.submit_key:
            keys.add(Key(Table.SUBMIT_KEYS, row.submit_key))
        if workflow_id not in state.dags:
            ids = (member_id(workflow_id, number) for number in range(row.count))
            keys.update(Key(Table.TASKS, task_id) for task_id in ids if task_id not in state.tasks)

    def task_of_id(task_id: str) -> Task | None:
        task = state.tasks.get(task_id) or cold.get(Key(Table.TASKS, task_id))
        return task if isinstance(task, Task) else None

    def key_of(task_id: str) -> None:
        task = task_of_id(task_id)
        if isinstance(task, Task) and task.submit_key:
            keys.add(Key(Table.SUBMIT_KEYS, task.submit_key))
        if isinstance(task, Task) and task.operation and task.operation not in state.operations:
            keys.add(Key(Table.OPERATIONS, task.operation))
        if isinstance(task, Task) and task.workflow_id:
            workflow_of(task.workflow_id)

    for command in entry.commands:
        kind = command.WhichOneof("kind")
        if kind == "task_submit":
            key = command.task_submit.submit_key
            row = cold.get(Key(Table.SUBMIT_KEYS, key)) if key else None
            if isinstance(row, SubmitKey) and row.task_id not in state.tasks:
                keys.add(Key(Table.TASKS, row.task_id))
                keys.add(Key(Table.WORKFLOWS, row.task_id))
        elif kind == "workflow_cancel":
            workflow_of(command.workflow_cancel.id)
        elif kind == "workflow_resume":
            workflow_of(command.workflow_resume.id)
        elif kind in _TOUCH_KEYS or kind in _OPERATION_COMMANDS:
            ids = tasks_of(command)
            # Apply judges by the same rule, and then asks for no workflow.
            if len(ids) == 1 or not operations.spans_too_much(map(task_of_id, ids)):
                for task_id in ids:
                    key_of(task_id)
        elif kind == "history_trim" and cluster.trim_size(command.history_trim) <= cluster.TRIM_LIMIT:
            for task_id in command.history_trim.ids:
                key_of(task_id)
            members = 0
            for workflow_id in command.history_trim.workflows:
                row = state.workflows.get(workflow_id) or cold.get(Key(Table.WORKFLOWS, workflow_id))
                members += row.count if isinstance(row, Workflow) else 0
                # Beyond that the trim is refused.
                if members <= cluster.TRIM_LIMIT:
                    workflow_of(workflow_id)
    return keys
