"""What all calls of the Cluster service share: propose, ask the leader, wait for an index.

The service has no transport: gRPC and the simulator both call it. Each area of calls is a class of its own.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from google.protobuf.message import Message

from cortex.v1 import cluster_pb2 as pb
from cortex.v1 import log_pb2
from cortex.v1.types_pb2 import SandboxLevel, Task, TaskProgress, TaskSpec
from node.consensus.port import NotLeader, Overloaded
from node.core import prompts, settings, validate
from node.core.faults import Code, Fault, no_leader
from node.core.model import QUEUED, RUNNING
from node.core.state import ClusterState
from node.env import Env
from node.leader.leadership import Leadership
from node.link import Caller, Link, LinkClosed
from node.replica import Replica
from node.rpc.errors import from_reply, link_lost
from node.rpc.lookup import Lookup
from node.rpc.remedies import Subject, subject_of
from node.rpc.waiting import Reasons, from_leader
from node.store.asof import At, Moment

M = TypeVar("M", bound=Message)
Handler = Callable[[Any, Caller], Awaitable[Message]]
Handlers = Mapping[str, Handler]

_FORWARD_S = 8.0
_MAX_HOPS = 2


@dataclass(frozen=True, slots=True)
class Parts:
    """What the service stands on, in a daemon that votes."""

    env: Env
    node_id: str
    cluster_id: str
    replica: Replica
    leadership: Leadership
    link: Link
    address_of: Callable[[str], str | None]


class Calls:
    """One area of the service. Every method raises Fault."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._replica = parts.replica
        self._lookup = Lookup(parts.replica)

    @property
    def _lease_ms(self) -> int:
        """The cluster's lease, by which kill timeouts are judged."""
        return self._parts.leadership.times.lease_ms

    @property
    def _sandbox(self) -> SandboxLevel.ValueType:
        """The cluster's sandbox level, of shell tasks that name none."""
        return settings.sandbox(self._state.settings.get(settings.SANDBOX))

    def _check_prompts(self, specs: Iterable[TaskSpec]) -> None:
        """Against the cluster's limit of them."""
        name = settings.PROMPT_LIMIT_CHARS
        prompts.check(specs, settings.integer(self._state.settings.get(name), name))

    def handlers(self) -> Handlers:
        """Its calls by their names in cortex.v1.Cluster."""
        raise NotImplementedError

    @property
    def _state(self) -> ClusterState:
        return self._replica.state

    async def _with_reasons(self, tasks: list[Task], caller: Caller) -> list[Task]:
        """The tasks, those that wait with their reason, which only the leader knows."""
        return (await self._as_led(tasks, caller))[0] if any(task.state == QUEUED for task in tasks) else tasks

    async def _as_led(self, tasks: list[Task], caller: Caller) -> tuple[list[Task], list[TaskProgress]]:
        """What only the leader knows: why those that wait do, and how far those that run are."""
        if all(task.state not in (QUEUED, RUNNING) for task in tasks):
            return tasks, []
        leadership = self._parts.leadership
        if self._replica.serving:
            told = [found for task in tasks if (found := leadership.progress_of(task.id)) is not None]
            return Reasons(self._replica.now_us(), lambda task: leadership.wait_reason(task.id)).fill(tasks), told
        try:
            reply = await self._ask_leader(
                "ListNodes", pb.ListNodesRequest(waiting=True), pb.ListNodesReply, caller
            )
        except Fault:
            return tasks, []
        ids = {task.id for task in tasks}
        told = [found for found in reply.progress if found.task in ids]
        return Reasons(self._replica.now_us(), from_leader(reply.waiting)).fill(tasks), told

    async def _execute(
        self, commands: Sequence[log_pb2.Command], mutation: pb.Mutation, caller: Caller
    ) -> log_pb2.Reply:
        request_id = validate.request_id(mutation.request_id)
        return await self._replica.execute(
            commands,
            client=mutation.client or caller.actor,
            request_id=request_id or self._parts.env.new_id(),
            actor=caller.actor,
        )

    async def _mutate(
        self, commands: Sequence[log_pb2.Command], mutation: pb.Mutation, caller: Caller
    ) -> pb.MutationReply:
        if not mutation.request_id:
            mutation = pb.Mutation(client=mutation.client, request_id=self._parts.env.new_id())
        reply = await self._execute(commands, mutation, caller)
        ids = [answer.id for answer in accepted(reply, commands)]
        return pb.MutationReply(operation_id=mutation.request_id, index=reply.index, ids=ids)

    async def _ask_leader(self, method: str, request: Message, kind: type[M], caller: Caller) -> M:
        leader = self._replica.leader
        address = self._parts.address_of(leader) if leader else None
        if address is None or leader == self._parts.node_id or caller.hops >= _MAX_HOPS:
            raise no_leader()
        try:
            reply = await self._parts.link.call(address, method, request, _FORWARD_S, caller.forwarded())
        except LinkClosed:
            raise link_lost(method, request) from None
        if not isinstance(reply, kind):
            raise TypeError(f"{method} answered {type(reply).__name__}")
        return reply

    async def of_leader(self, method: str, request: Message, caller: Caller) -> Message:
        """What the leader answers to the same call. Raises Fault."""
        return await self._ask_leader(method, request, Message, caller)

    async def _fresh(self, freshness: pb.Freshness, *, saved: bool = False) -> None:
        """Wait until what is read here is as new as the caller asks for. Raises Fault."""
        index = freshness.min_index
        if freshness.linearizable:
            index = max(index, await self._read_index())
        if index:
            wait = self._replica.saved_through if saved else self._replica.applied_through
            await wait(index)

    async def _read_index(self) -> int:
        """Whatever was acknowledged before the call stands at or before it: a quorum says so. Raises Fault."""
        try:
            return await self._replica.consensus.read_index()
        except NotLeader:
            message = "No majority of the voters confirmed in time who leads, so nothing is shown."
            remedy = "Try again, or ask without --linearizable for what this daemon has."
            raise Fault(Code.NO_LEADER, message, remedy) from None
        except Overloaded:
            raise Fault(
                Code.OVERLOADED, "Too many reads wait for a majority already.", "Try again in a second."
            ) from None

    async def _moment(self, at: pb.Moment) -> Moment | None:
        """The moment that a read asks for, with everything up to it saved; None for now. Raises Fault."""
        if not at.index and not at.at_us:
            return None
        if at.at_us < 0:
            raise Fault(Code.INVALID, f"at_us is {at.at_us}.", "Name a log index, or a unix time in microseconds.")
        index = at.index or self._state.index
        # What is committed will be here in a moment; what lies beyond is refused by the read.
        if index <= max(self._state.index, self._replica.consensus.commit_index):
            await self._replica.saved_through(index)
        return Moment(at.index, 0 if at.index else at.at_us, self._replica.now_us())

    def _past_age_us(self, at: At) -> int:
        """How long ago a moment was."""
        return max(0, self._replica.now_us() - at.at_us)

    def _age_us(self) -> int:
        """How long ago this daemon had all that was committed, as far as it heard; 0 on the leader."""
        if self._replica.serving:
            return 0
        as_of_us = self._replica.consensus.freshness.as_of_us(self._state.index)
        if as_of_us is not None:
            return self._parts.env.clock.boot_us() - as_of_us
        # It has not heard of a leader yet: it knows only when its last entry was made.
        return max(0, self._replica.now_us() - self._state.at_us)


def accepted(reply: log_pb2.Reply, commands: Sequence[log_pb2.Command] = ()) -> Sequence[log_pb2.CommandReply]:
    """The answers, if all `commands` were accepted; else a Fault that says how many were, and where to look."""
    refused = [answer for answer in reply.commands if not answer.accepted]
    if not refused:
        return reply.commands
    about = commands[list(reply.commands).index(refused[0])] if len(commands) == len(reply.commands) else None
    subject = subject_of(about) if about is not None else Subject()
    first = from_reply(refused[0].code, refused[0].message, subject)
    if len(reply.commands) == 1:
        raise first
    done = len(reply.commands) - len(refused)
    message = f"{done} of {len(reply.commands)} were changed; refused: " + " ".join(
        answer.message for answer in refused[:5]
    )
    raise Fault(first.code, message, first.remedy)


def refused_items(answer: log_pb2.CommandReply) -> None:
    """A Fault that says how many were changed, if an operation was carried out and left some of its tasks alone."""
    refused = [item for item in answer.items if not item.accepted]
    if refused:
        first = from_reply(refused[0].code, refused[0].message, Subject("task", refused[0].id))
        told = " ".join(item.message for item in refused[:5])
        done = len(answer.items) - len(refused)
        message = f"{done} of {len(answer.items)} were changed; refused: {told}"
        raise Fault(first.code, message, first.remedy)


def page_limit(limit: int) -> int:
    if limit < 0 or limit > 1000:
        raise Fault(Code.INVALID, f"limit {limit} is not between 1 and 1000.", "Page with cursor instead.")
    return limit or 50
