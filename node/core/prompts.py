"""How long a prompt for an agent may be: the cluster says."""

from __future__ import annotations

from collections.abc import Iterable

from cortex.v1.types_pb2 import TASK_TYPE_SUBAGENT, TaskSpec
from node.core.faults import Code, Fault
from node.payloads.reading import BadPayload, read
from node.payloads.subagent import Subagent


def check(specs: Iterable[TaskSpec], limit_chars: int) -> None:
    """Raises Fault that names the first prompt that is too long, by its line if there are several."""
    for line, spec in enumerate(specs, 1):
        if spec.type != TASK_TYPE_SUBAGENT or len(spec.payload) <= limit_chars:
            continue
        try:
            length = len(read(spec.payload, Subagent).prompt)
        except BadPayload:
            continue  # that is refused for itself
        if length > limit_chars:
            where = f"Line {line}: the" if line > 1 else "The"
            message = f"{where} prompt has {length} characters, the limit is {limit_chars}."
            remedy = "Put the rest into a file that the agent reads, or raise the setting prompt_limit_chars."
            raise Fault(Code.TOO_LARGE, message, remedy)
