"""A batch on its way into the log: checked whole, then proposed part by part, each under a request id of its own.

A repeat under the same request id finds the parts that are in by their stored replies, and goes on after them. How
many submissions such a part had is taken from its reply, so that a release that splits otherwise can go on, too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from cortex.v1.cluster_pb2 import TaskRequest
from cortex.v1.log_pb2 import BatchKey, BatchPart, Command, CommandReply, Reply, TaskSubmit
from cortex.v1.types_pb2 import SandboxLevel
from node.core import validate
from node.core.faults import Code, Fault
from node.core.transitions.begin import NOTHING
from node.core.transitions.keys import submission_sha256
from node.rpc.errors import from_reply
from node.rpc.remedies import Subject

PART_BYTES = 1024 * 1024
# More would hold up the loops of all voters for too long when they apply it.
PART_TASKS = 1_000
# They travel with the first part, whose entry must not grow over the log's limit of 4 MiB.
KEYS_BYTES = 2_500_000
# Steps that the loop is held up for at once.
_STEPS = 250
_NAMED_LINES = 10
_BATCH = Subject("task", "", "submit")

# One for each submission, and the last part's log index.
Answers = tuple[list[CommandReply], int]


# Proposes one entry under a request id; its reply once it is applied. Raises Fault.
Execute = Callable[[Sequence[Command], str, BatchPart | None], Awaitable[Reply]]


async def checked(
    requests: Sequence[TaskRequest],
    new_id: Callable[[], str],
    lease_ms: int = validate.LEASE_MS,
    sandbox: SandboxLevel.ValueType = validate.NO_SANDBOX,
) -> list[TaskSubmit]:
    """Submissions for a batch, every one complete. Raises one Fault that names each bad line."""
    validate.batch_size(len(requests))
    ids: list[str] = []
    while len(ids) < len(requests):
        ids += [new_id() for _ in range(min(_STEPS, len(requests) - len(ids)))]
        await asyncio.sleep(0)
    batch = validate.Completion(ids, lease_ms, sandbox)
    for start in range(0, len(requests), _STEPS):
        batch.add(requests[start : start + _STEPS])
        await asyncio.sleep(0)
    return batch.finish()


async def submit(submits: Sequence[TaskSubmit], request_id: str, execute: Execute) -> Answers:
    """Propose all parts that are not in yet. Raises Fault; by a refusal of the first one nothing was submitted."""
    answers: list[CommandReply] = []
    index = number = 0
    keys = await _keys(submits)
    while len(answers) < len(submits):
        first = len(answers)
        chosen = _next_part(submits, first, sum(map(BatchKey.ByteSize, keys)) if not first else 0)
        part = None
        if len(chosen) < len(submits):
            part = BatchPart(id=request_id, first=first, count=len(submits), keys=() if first else keys)
        commands = [Command(task_submit=submit) for submit in chosen]
        reply = await execute(commands, f"{request_id}/{number}", part)
        if not all(answer.accepted for answer in reply.commands):
            raise _fault(reply, first)
        answers += reply.commands
        index, number = reply.index, number + 1
    return answers, index


async def _keys(submits: Sequence[TaskSubmit]) -> list[BatchKey]:
    """The submit keys of a batch that takes more than one part. Raises Fault."""
    found: list[BatchKey] = []
    if len(_next_part(submits, 0, 0)) == len(submits):
        return found
    for line, submit in enumerate(submits, 1):
        if submit.submit_key:
            found.append(BatchKey(line=line, key=submit.submit_key, spec_sha256=submission_sha256(submit)))
        if line % _STEPS == 0:
            await asyncio.sleep(0)
    size = sum(map(BatchKey.ByteSize, found))
    if size > KEYS_BYTES:
        message = f"The submit keys of the batch take {size} bytes, the limit is {KEYS_BYTES}."
        raise Fault(Code.TOO_LARGE, message, "Split it, or use shorter keys.")
    return found


def _next_part(submits: Sequence[TaskSubmit], first: int, used_bytes: int) -> Sequence[TaskSubmit]:
    """What fits into an entry from `first` on; at least one."""
    end = first + 1
    size = used_bytes + submits[first].ByteSize()
    while end < len(submits) and end - first < PART_TASKS:
        size += submits[end].ByteSize()
        if size > PART_BYTES:
            break
        end += 1
    return submits[first:end]


def _fault(reply: Reply, first: int) -> Fault:
    """What a refusal means for the whole; each bad line by its number, where lines are to blame."""
    whole = reply.commands[0]
    if first:
        return Fault(from_reply(whole.code, "").code, whole.message, "Submit the other lines as a new batch.")
    if len({answer.message for answer in reply.commands}) == 1:
        return from_reply(whole.code, whole.message, _BATCH)
    lines = enumerate(reply.commands, 1)
    bad = [(line, answer) for line, answer in lines if not answer.message.startswith(NOTHING)]
    told = " ".join(f"Line {line}: {answer.message}" for line, answer in bad[:_NAMED_LINES])
    more = f" And {len(bad) - _NAMED_LINES} more." if len(bad) > _NAMED_LINES else ""
    return from_reply(bad[0][1].code, f"{NOTHING} {told}{more}", _BATCH)
