"""Nodes, settings and history."""

from __future__ import annotations

from cortex.v1 import types_pb2
from cortex.v1.log_pb2 import HistoryTrim, NodeCordon, NodeJoin, NodeLeave, SettingsChange
from cortex.v1.types_pb2 import DoubleRun, Event, Node, NodeState, Setting, StoredReply
from node.core import checks, settings
from node.core.faults import Code
from node.core.model import ENDED, LIVE_OPERATION, Table, reply_key
from node.core.transitions import alarms, batches, drains, keys, workflows
from node.core.transitions.draft import Draft, Refusal

REPLY_KEPT_US = 24 * 3600 * 1_000_000
TRIM_LIMIT = 1000

_SCHEDULABLE = frozenset({types_pb2.NODE_STATE_ACTIVE})
_CORDONED = frozenset({types_pb2.NODE_STATE_CORDONED, types_pb2.NODE_STATE_DRAINING, types_pb2.NODE_STATE_DRAINED})


def node_join(draft: Draft, command: NodeJoin) -> Refusal | None:
    """A machine registers, comes back or changes what it offers; said again it changes nothing."""
    flaw = checks.node_flaw(command.node)
    if flaw is not None:
        return Refusal(Code.INVALID, flaw)
    old = draft.node(command.node.id)
    removed = old is not None and old.state == types_pb2.NODE_STATE_REMOVED
    if old is not None and removed and old.incarnation == command.node.incarnation:
        return Refusal(Code.WRONG_STATE, f"Node {old.id} was removed; it joins again with a new data folder.")
    new = Node()
    new.CopyFrom(command.node)
    # What a machine says of itself is everything but these.
    new.ClearField("message")
    new.ClearField("changed_at_us")
    new.ClearField("modified_index")
    new.ClearField("suspect_reason")
    new.ClearField("operation")
    new.ClearField("alarm")
    new.ClearField("alarm_tasks")
    new.role = new.role or types_pb2.NODE_ROLE_WORKER
    new.online = True
    new.state = types_pb2.NODE_STATE_ACTIVE
    new.joined_at_us = draft.now_us
    new.incarnation_index = draft.index
    detail = "joined"
    if old is not None and not removed:
        new.state = old.state
        new.role = old.role or new.role
        new.MergeFrom(_decided(old))
        new.joined_at_us = old.joined_at_us
        if old.incarnation == new.incarnation:
            new.incarnation_index = old.incarnation_index
        if new == old:
            return None
        detail = "changed what it offers" if old.online and old.incarnation == new.incarnation else "came back"
        if old.incarnation != new.incarnation:
            detail = "came back with a new data folder"
    draft.put_node(new, types_pb2.EVENT_TYPE_NODE_JOINED, detail)
    return None


def _decided(old: Node) -> Node:
    """What others decided about a node: it stays, whatever the machine says of itself."""
    return Node(
        message=old.message,
        changed_at_us=old.changed_at_us,
        modified_index=old.modified_index,
        suspect_reason=old.suspect_reason,
        operation=old.operation,
        alarm=old.alarm,
        alarm_tasks=old.alarm_tasks,
    )


def node_leave(draft: Draft, command: NodeLeave) -> Refusal | None:
    """Gone offline, or removed for good. What it runs stays its own until the leases end."""
    old = draft.node(command.id)
    if old is None:
        return _no_node(command.id)
    reason = command.reason[:200]
    if old.state == types_pb2.NODE_STATE_REMOVED:
        return None if command.removed else Refusal(Code.WRONG_STATE, f"Node {old.id} was removed.")
    count = draft.on_node(old.id)
    if command.removed and old.online and count:
        return Refusal(Code.WRONG_STATE, f"Node {old.id} is online and holds {count} tasks: drain it first.")
    if not command.removed and not old.online:
        return None
    new = Node()
    new.CopyFrom(old)
    new.online = False
    if command.removed:
        new.state = types_pb2.NODE_STATE_REMOVED
        new.message = reason
        drains.leave(draft, new, "the node was removed")
    kind = types_pb2.EVENT_TYPE_NODE_REMOVED if command.removed else types_pb2.EVENT_TYPE_NODE_OFFLINE
    draft.put_node(new, kind, reason)
    return None


def node_cordon(draft: Draft, command: NodeCordon) -> Refusal | None:
    """Take a node out of scheduling, or back in, which settles its alarms; said again it changes nothing."""
    old = draft.node(command.id)
    if old is None:
        return _no_node(command.id)
    flaw = checks.reason_flaw(command.message)
    if flaw is not None:
        return Refusal(Code.INVALID, flaw)
    if old.state not in _SCHEDULABLE | _CORDONED:
        state = NodeState.Name(old.state).removeprefix("NODE_STATE_").lower()
        return Refusal(Code.WRONG_STATE, f"Node {old.id} is {state}.")
    if command.cordoned:
        drains.stays_cordoned(draft, old)
    judged = bool(old.alarm or old.suspect_reason)
    if command.cordoned and old.state in _CORDONED and old.message == command.message:
        return None
    if not command.cordoned and old.state in _SCHEDULABLE and not judged:
        return None
    new = Node()
    new.CopyFrom(old)
    new.message = command.message
    if not command.cordoned:
        new.state = types_pb2.NODE_STATE_ACTIVE
        alarms.settled(new)
        drains.leave(draft, new, "the node was uncordoned")
    elif old.state in _SCHEDULABLE:
        new.state = types_pb2.NODE_STATE_CORDONED
    kind = types_pb2.EVENT_TYPE_NODE_CORDONED if command.cordoned else types_pb2.EVENT_TYPE_NODE_UNCORDONED
    draft.put_node(new, kind, command.message)
    return None


def _no_node(node_id: str) -> Refusal:
    return Refusal(Code.NOT_FOUND, f"There is no node {node_id[:64]}.")


def settings_change(draft: Draft, command: SettingsChange) -> Refusal | None:
    flaw = settings.flaw(command.name, command.value)
    if flaw is not None:
        return Refusal(Code.INVALID, flaw)
    old = draft.setting(command.name)
    if old is not None and old.value == command.value:
        return None
    flaw = settings.clash(command.name, command.value, draft.setting)
    if flaw is not None:
        return Refusal(Code.INVALID, flaw)
    new = Setting(name=command.name, value=command.value, at_us=draft.now_us)
    if command.name == settings.LEASE_MS:
        longest_ms = settings.longest_lease_ms(old, settings.default_of(settings.LEASE_MS), draft.now_us)
        if longest_ms > settings.integer(new, settings.LEASE_MS):
            new.former = str(longest_ms)
    draft.put_row(Table.SETTINGS, command.name, new)
    before = old.value if old is not None else "default"
    detail = f"{command.name}: {before} -> {command.value}"
    draft.cluster_event(types_pb2.EVENT_TYPE_SETTING_CHANGED, detail)
    return None


def trim_size(command: HistoryTrim) -> int:
    """Rows that it names."""
    named = (
        command.ids,
        command.event_ids,
        command.requests,
        command.submit_keys,
        command.batches,
        command.workflows,
        command.double_runs,
        command.operations,
        command.nodes,
    )
    return sum(len(rows) for rows in named)


def history_trim(draft: Draft, command: HistoryTrim) -> Refusal | None:
    """Rows of the past leave; what is too young, lives or is gone already is passed over."""
    if trim_size(command) > TRIM_LIMIT:
        return Refusal(Code.INVALID, f"A trim names at most {TRIM_LIMIT} rows, not {trim_size(command)}.")
    members = workflows.trimmed_tasks(draft, command.workflows)
    if members > TRIM_LIMIT:
        return Refusal(Code.INVALID, f"A trim names workflows of at most {TRIM_LIMIT} tasks, not {members}.")
    counts = {
        "tasks": sum(_trim_task(draft, command.before_us, task_id) for task_id in command.ids),
        "tasks of workflows": sum(workflows.trim(draft, command.before_us, each) for each in command.workflows),
        "events": sum(_trim_event(draft, command.before_us, event_id) for event_id in command.event_ids),
        "replies": sum(_trim_reply(draft, ref.client, ref.request_id) for ref in command.requests),
        "submit keys": sum(_trim_submit_key(draft, key) for key in command.submit_keys),
        "double runs": sum(_trim_double_run(draft, command.before_us, line) for line in command.double_runs),
        "operations": sum(_trim_operation(draft, command.before_us, one) for one in command.operations),
        "removed nodes": sum(_trim_node(draft, command.before_us, one) for one in command.nodes),
    }
    for ref in command.batches:
        _trim_batch(draft, reply_key(ref.client, ref.request_id))
    if any(counts.values()):
        detail = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
        draft.cluster_event(types_pb2.EVENT_TYPE_HISTORY_TRIMMED, detail)
    return None


def _trim_task(draft: Draft, before_us: int, task_id: str) -> bool:
    task = draft.task(task_id)
    # A member leaves with its workflow.
    if task is None or task.state not in ENDED or task.completed_at_us >= before_us or task.workflow_id:
        return False
    if task.submit_key:
        if draft.now_us < task.completed_at_us + keys.SUBMIT_KEY_KEPT_US:
            return False
        row = draft.submit_key(task.submit_key)
        if row is not None and row.task_id == task.id:
            draft.put_row(Table.SUBMIT_KEYS, row.key, None)
    draft.delete_task(task)
    return True


def _trim_event(draft: Draft, before_us: int, event_id: str) -> bool:
    row = draft.get(Table.EVENTS, event_id)
    if not isinstance(row, Event) or row.at_us >= before_us:
        return False
    draft.put_row(Table.EVENTS, event_id, None)
    return True


def _trim_double_run(draft: Draft, before_us: int, line: str) -> bool:
    row = draft.get(Table.DOUBLE_RUNS, line)
    if not isinstance(row, DoubleRun) or row.at_us >= before_us:
        return False
    draft.put_row(Table.DOUBLE_RUNS, line, None)
    return True


def _trim_operation(draft: Draft, before_us: int, operation_id: str) -> bool:
    row = draft.operation_row(operation_id)
    if row is None or row.state in LIVE_OPERATION or row.ended_at_us >= before_us:
        return False
    draft.put_row(Table.OPERATIONS, operation_id, None)
    return True


def _trim_node(draft: Draft, before_us: int, node_id: str) -> bool:
    row = draft.node(node_id)
    removed = row is not None and row.state == types_pb2.NODE_STATE_REMOVED
    if row is None or not removed or row.changed_at_us >= before_us or draft.on_node(node_id):
        return False
    draft.put_row(Table.NODES, node_id, None)
    return True


def _trim_reply(draft: Draft, client: str, request_id: str) -> bool:
    key = reply_key(client, request_id)
    row = draft.get(Table.REPLIES, key)
    if not isinstance(row, StoredReply) or draft.now_us < row.at_us + REPLY_KEPT_US:
        return False
    draft.put_row(Table.REPLIES, key, None)
    return True


def _trim_submit_key(draft: Draft, key: str) -> bool:
    row = draft.submit_key(key)
    if row is None or not keys.is_expired(draft, row):
        return False
    draft.put_row(Table.SUBMIT_KEYS, key, None)
    return True


def _trim_batch(draft: Draft, key: str) -> None:
    row = draft.batch(key)
    if row is not None and batches.is_given_up(draft, row):
        draft.put_row(Table.BATCHES, key, None)
        detail = f"batch {row.id} was given up: {row.next} of its {row.count} tasks had come"
        draft.cluster_event(types_pb2.EVENT_TYPE_HISTORY_TRIMMED, detail)
