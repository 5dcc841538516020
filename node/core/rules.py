"""Rules: whether a member of a workflow runs, judged by how those that it depends on have ended."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence

from cortex.v1 import types_pb2
from cortex.v1.types_pb2 import Rule, SkipReason, Task
from node.core.model import CANCELLED, COMPLETED, DEAD_LETTER, FAILED, SKIPPED

_FAILURES = frozenset({FAILED, DEAD_LETTER})
_READS_PARENT = re.compile(r"(?<![\w$.])parent(?![\w$])")

# A dependency was cancelled along with its workflow, not by itself.
ByCancel = Callable[[Task], bool]

_ALLOWS: Mapping[int, Callable[[Sequence[int]], bool]] = {
    types_pb2.RULE_ALL_SUCCESS: lambda states: all(state == COMPLETED for state in states),
    types_pb2.RULE_NONE_FAILED: lambda states: all(state in (COMPLETED, SKIPPED) for state in states),
    types_pb2.RULE_ALL_DONE: lambda _states: True,
    types_pb2.RULE_ONE_FAILED: lambda states: any(state in _FAILURES for state in states),
    types_pb2.RULE_ONE_SUCCESS: lambda states: any(state == COMPLETED for state in states),
    types_pb2.RULE_ALWAYS: lambda _states: True,
}
RULES = frozenset(_ALLOWS)


def in_force(rule: Rule.ValueType, condition: str, final: bool) -> Rule.ValueType:
    """The rule of a task for which `rule` is asked, unspecified or not."""
    if rule:
        return rule
    if final:
        return types_pb2.RULE_ALWAYS
    return types_pb2.RULE_ALL_DONE if _READS_PARENT.search(condition) else types_pb2.RULE_ALL_SUCCESS


def denial(
    rule: Rule.ValueType, parents: Iterable[Task], by_cancel: ByCancel
) -> tuple[SkipReason.ValueType, str] | None:
    """Why the rule keeps a task from running whose dependencies, all ended, are `parents`; None when it may run."""
    parents = list(parents)
    if not parents:
        return None
    if rule == types_pb2.RULE_ALL_DONE:
        for parent in parents:
            if parent.state == CANCELLED and by_cancel(parent):
                return types_pb2.SKIP_REASON_UPSTREAM_FAILED, f"{parent.task_key} was cancelled with the workflow"
    if _ALLOWS[rule]([parent.state for parent in parents]):
        return None
    for parent in parents:
        if parent.state in _FAILURES or parent.state == CANCELLED:
            return types_pb2.SKIP_REASON_UPSTREAM_FAILED, f"{parent.task_key} {_WORDS[parent.state]}"
    for parent in parents:
        if parent.state == SKIPPED:
            return types_pb2.SKIP_REASON_UPSTREAM_SKIPPED, f"{parent.task_key} was skipped"
    return types_pb2.SKIP_REASON_CONDITION_FALSE, "none of its dependencies failed"


_WORDS: Mapping[int, str] = {FAILED: "failed", DEAD_LETTER: "failed", CANCELLED: "was cancelled"}


def counts_as_failure(task: Task) -> bool:
    """Whether it makes its workflow fail; a dead letter that was discarded still does."""
    failed = task.state in _FAILURES or (task.state == CANCELLED and task.dead_lettered_at_us > 0)
    return failed and not task.can_fail


def input_sha256(parents: Iterable[Task]) -> bytes:
    """Hash of what a verdict depends on: run, state and result of the dependencies, in their order."""
    digest = hashlib.sha256()
    for parent in parents:
        result = parent.result.SerializeToString(deterministic=True) if parent.HasField("result") else b""
        digest.update(f"{parent.id} {parent.run} {parent.state} {len(result)}\n".encode())
        digest.update(result)
    return digest.digest()
