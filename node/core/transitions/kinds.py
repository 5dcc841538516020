"""What tells one kind of operation from another; node.core.transitions.operations does what all have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

from cortex.v1.log_pb2 import CommandReply, OperationAdvance
from cortex.v1.types_pb2 import Operation
from node.core.transitions.draft import Draft, Refusal

# One command on a task, by its kind, judged and done as if it stood in the entry by itself.
Act: TypeAlias = Callable[[Draft, str, Any], Refusal | None]
Items: TypeAlias = Sequence[CommandReply]


def _fine(_draft: Draft, _new: Operation) -> Refusal | None:
    return None


def _not_at_once(_draft: Draft, _new: Operation, _act: Act) -> Items | Refusal | None:
    return None


def _nothing(_draft: Draft, _new: Operation) -> None:
    return None


def _no_guard(_draft: Draft, _old: Operation, _command: OperationAdvance) -> Refusal | None:
    return None


def _no_step(_draft: Draft, _new: Operation, _command: OperationAdvance, _act: Act) -> None:
    return None


class Kind(NamedTuple):
    """Hooks of one kind. `new` is the row that the entry puts, to be edited in place; a Refusal changes nothing.

    check: whether it may start; what it lays down in the plan counts from the commit.
    start: what the commit itself does beside keeping the row. Not called when at_once() does all.
    at_once: without an undo window, carries it out within the entry that starts it, and says what became of each
        task; it leaves `new` DONE or RUNNING. None = it is kept for the leader's duty, as with a window.
    guard: whether an advance fits the state, before anything of it is done; its cursor is checked already.
    begin: from SCHEDULED to RUNNING. Not called when the leader refused it in that very entry.
    step: one further advance.
    end: it was undone, refused, stopped or is done, as new.state says.
    """

    check: Callable[[Draft, Operation], Refusal | None] = _fine
    start: Callable[[Draft, Operation], None] = _nothing
    at_once: Callable[[Draft, Operation, Act], Items | Refusal | None] = _not_at_once
    guard: Callable[[Draft, Operation, OperationAdvance], Refusal | None] = _no_guard
    begin: Callable[[Draft, Operation, OperationAdvance, Act], None] = _no_step
    step: Callable[[Draft, Operation, OperationAdvance, Act], None] = _no_step
    end: Callable[[Draft, Operation], None] = _nothing
