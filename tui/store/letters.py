"""Dead letters by cause, as the cluster counts them, and whether that count is still right. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from cortex.v1 import cluster_pb2, types_pb2
from tui.lists.rows import Rows
from tui.store.operations import settled

Cause = cluster_pb2.DeadLetterCause
Operation = types_pb2.Operation
Task = types_pb2.Task

NO_CAUSE = "-"
"""Key of letters that have no fingerprint."""
DEAD = types_pb2.TASK_STATE_DEAD_LETTER


def _text(row: Cause) -> str:
    command = row.sample.spec.shell_command or b" ".join(row.sample.spec.argv)
    said = (row.fingerprint, row.sample.error, row.sample.name, command.decode("utf-8", "replace"), *row.nodes)
    return "\n".join(said)


def key_of(row: Cause) -> str:
    return row.fingerprint or NO_CAUSE


@dataclass
class Letters:
    """All causes. `operations` are those of the view."""

    operations: Rows[Operation]
    causes: Rows[Cause] = field(default_factory=lambda: Rows(_text))
    """By fingerprint, or NO_CAUSE."""
    index: int = -1
    """Log index that they were counted at; -1 = never."""
    changed_index: int = 0
    """Log index of the last word of a task that became a letter, or ceased to be one."""
    count: int = 0
    """Of the whole cluster; changes between two counts are reckoned in."""
    words: dict[str, str] = field(default_factory=dict)
    """What a letter of each cause said last, by fingerprint, where it was read: counts come without output."""
    _last: dict[str, str] = field(default_factory=dict)

    def note_task(self, task: Task, known: Task | None) -> None:
        """A row of the stream, before it is put in the place of `known`."""
        is_letter = task.state == DEAD
        # One that is not known may have been a letter before it was retried or discarded.
        was_letter = bool(task.dead_lettered_at_us) and not is_letter if known is None else known.state == DEAD
        if is_letter != was_letter and task.modified_index > self.index:
            self.count = max(0, self.count + (1 if is_letter else -1))
            self.changed_index = max(self.changed_index, task.modified_index)

    def note_operation(self, row: Operation) -> None:
        cause = row.bulk.fingerprint
        if cause:
            last = self.operation(cause)
            if last is None or last.created_index <= row.created_index:
                self._last[cause] = row.id

    def operation(self, cause: str) -> Operation | None:
        """The last operation on a cause that is known."""
        return self.operations.get(self._last.get(cause, ""))

    def put(self, reply: cluster_pb2.ListCausesReply) -> None:
        """Take over the cluster's count. A cause without letters stays as long as an operation on it goes on."""
        if reply.index < self.index:
            return
        self.index = reply.index
        self.count = sum(row.count for row in reply.causes)
        found = {key_of(row): row for row in reply.causes}
        for row in list(self.causes.values()):
            if key_of(row) not in found:
                self._end(row)
        for key, row in found.items():
            if self.causes.get(key) != row:
                self.causes.put(key, row)

    def _end(self, row: Cause) -> None:
        operation = self.operation(row.fingerprint)
        if operation is None or settled(operation):
            self.causes.remove(key_of(row))
        elif row.count:
            empty = Cause()
            empty.CopyFrom(row)
            empty.count = 0
            self.causes.put(key_of(row), empty)
