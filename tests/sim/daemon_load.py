"""What clients of the simulated cluster do: submit, cancel, retry, repeat, read and watch."""

from __future__ import annotations

import asyncio
import math
import random
from contextlib import aclosing

from cortex.v1 import cluster_pb2 as pb
from cortex.v1 import types_pb2
from node.core.faults import Code, Fault
from node.core.model import Table
from node.link import Caller, LinkClosed
from tests.sim.daemon_client import Client, rough_task, some_task
from tests.sim.daemon_deeds import Deeds
from tests.sim.daemon_world import Host, World

_DEEDS = ("submit", "batch", "cancel", "retry", "repeat", "read", "other")
_WEIGHTS = (8, 1, 2, 1, 1, 6, 3)


class Load:
    """run() for each client, watch() for one; `over` ends them."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.over = False
        self.operations = 0
        self.holds: set[str] = set()
        self.seen: dict[str, types_pb2.Task] = {}
        self.deeds = Deeds(world)

    async def run(self, client: Client) -> None:
        rng = client.random
        own: list[str] = []
        while not self.over:
            await asyncio.sleep(rng.expovariate(2))
            self.operations += 1
            deed = rng.choices(_DEEDS, _WEIGHTS)[0]
            if deed == "submit" or not own:
                request = pb.SubmitRequest(mutation=client.mutation(), task=self._task(rng))
                self._name(request.mutation, [request.task])
                written = self.world.history.begin("", "a submission")
                reply = await client.change("Submit", request)
                if isinstance(reply, pb.SubmitReply):
                    self._accepted([reply.id], request.mutation.request_id, [request.task], own)
                    if not reply.deduplicated:
                        written.object = reply.id
                        self.world.history.end(written, reply.index)
            elif deed == "other":
                await self.deeds.do(client)
            elif deed == "batch":
                await self._batch(client, own)
            elif deed == "cancel":
                # What was submitted last may still run.
                chosen = rng.choice(own[-2:] if self.world.rough and rng.random() < 0.7 else own)
                cancel = pb.CancelTaskRequest(mutation=client.mutation(), ids=[chosen], reason="sim")
                await self._change_one(client, "CancelTask", cancel)
            elif deed == "retry":
                retry = pb.RetryTaskRequest(mutation=client.mutation(), ids=[rng.choice(own)])
                await self._change_one(client, "RetryTask", retry)
            elif deed == "repeat":
                await client.repeat()
            else:
                await self._read(client, rng.choice(own))

    async def _change_one(
        self, client: Client, method: str, request: pb.CancelTaskRequest | pb.RetryTaskRequest
    ) -> None:
        written = self.world.history.begin(request.ids[0], method)
        reply = await client.change(method, request)
        if isinstance(reply, pb.MutationReply) and list(reply.ids) == list(request.ids):
            self.world.history.end(written, reply.index)

    async def _read(self, client: Client, task_id: str) -> None:
        """As it is now, or as it once was: only the former is held against what others saw."""
        linearizable = client.random.random() < 0.7
        request = pb.GetTaskRequest(id=task_id, freshness=pb.Freshness(linearizable=linearizable))
        read = self.world.history.begin(task_id, "a read")
        reply = await client.ask("GetTask", request, patience=3)
        if linearizable and isinstance(reply, pb.GetTaskReply):
            seen = types_pb2.Task()
            seen.CopyFrom(reply.task)
            if seen.state == types_pb2.TASK_STATE_QUEUED:
                seen.ClearField("reason")  # why it waits is asked of the leader, and no part of the row
            self.world.history.end(read, seen.modified_index, seen.SerializeToString(deterministic=True))

    def _task(self, rng: random.Random) -> pb.TaskRequest:
        return rough_task(rng) if self.world.rough else some_task(rng)

    async def _batch(self, client: Client, own: list[str]) -> None:
        rng = client.random
        request = pb.SubmitBatchRequest(mutation=client.mutation(), tasks=[self._task(rng) for _ in range(6)])
        tasks = list(request.tasks)
        self._name(request.mutation, tasks)
        reply = await client.change("SubmitBatch", request)
        names = [task.name for task in tasks if not task.submit_key]
        self.world.checker.batch(request.mutation.request_id, names, accepted=reply is not None)
        if isinstance(reply, pb.SubmitBatchReply):
            self._accepted(list(reply.ids), request.mutation.request_id, tasks, own)

    def _name(self, mutation: pb.Mutation, tasks: list[pb.TaskRequest]) -> None:
        """A name for each submission, so that one that is carried out twice shows; those of a key share one."""
        for line, task in enumerate(tasks, 1):
            task.name = task.submit_key or f"{mutation.request_id}.{line}"

    def _accepted(self, ids: list[str], request_id: str, tasks: list[pb.TaskRequest], own: list[str]) -> None:
        for task_id, task in zip(ids, tasks, strict=True):
            own.append(task_id)
            self.world.checker.submitted(task_id, request_id)
            if task.spec.on_lost == types_pb2.ON_LOST_HOLD:
                self.holds.add(task_id)

    async def watch(self, client: Client) -> None:
        """Fold what a watch says, over whatever breaks it."""
        index = 0
        while True:
            host = self.world.watched = self._watched(client.random)
            request = pb.WatchRequest(after_index=index, snapshot=index == 0, samples=True)
            try:
                stream = client.link.stream(host.address, "Watch", request, Caller("watcher"))
                async with aclosing(stream) as replies:
                    async for reply in replies:
                        assert isinstance(reply, pb.WatchReply)
                        index = self._fold(reply, index)
            except LinkClosed:
                self.world.counts["watches broken"] += 1
            except Fault as fault:
                if fault.code == Code.GONE:
                    self.world.counts["watches gone"] += 1
                    index = 0
            await asyncio.sleep(client.random.uniform(0.05, 0.5))

    def _watched(self, rng: random.Random) -> Host:
        """Mostly the voter that is furthest behind: the one that may soon begin anew."""
        if rng.random() < 0.3:
            return rng.choice(self.world.voters)
        return min(self.world.voters, key=lambda host: host.applied if host.up else math.inf)

    def _fold(self, reply: pb.WatchReply, index: int) -> int:
        if reply.snapshot_begin:
            self.seen.clear()
        elif reply.index < index:
            self.world.report(f"a watch went back from {index} to {reply.index}")
        for change in reply.changes:
            if change.HasField("task"):
                self.seen[change.task.id] = change.task
            elif change.deleted_table == Table.TASKS:
                self.seen.pop(change.deleted_key, None)
        # A snapshot that breaks off is no position to resume from.
        return reply.index if index or reply.snapshot_end else 0
