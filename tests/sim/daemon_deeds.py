"""What clients do beside single tasks: workflows, drains, bulk retries, a command on every node, priorities."""

from __future__ import annotations

import asyncio
import random

from cortex.v1 import cluster_pb2 as pb
from cortex.v1 import types_pb2
from node.core.model import Table, member_id
from tests.sim.daemon_client import Client, some_task
from tests.sim.daemon_world import World
from tests.sim.task_checks import EVERYWHERE

_RULES = [
    types_pb2.RULE_UNSPECIFIED,
    types_pb2.RULE_UNSPECIFIED,
    types_pb2.RULE_UNSPECIFIED,
    types_pb2.RULE_ALL_SUCCESS,
    types_pb2.RULE_NONE_FAILED,
    types_pb2.RULE_ALL_DONE,
    types_pb2.RULE_ONE_FAILED,
    types_pb2.RULE_ONE_SUCCESS,
    types_pb2.RULE_ALWAYS,
]
_POLICIES = [
    types_pb2.FAILURE_POLICY_CONTINUE,
    types_pb2.FAILURE_POLICY_CONTINUE,
    types_pb2.FAILURE_POLICY_FAIL_FAST,
    types_pb2.FAILURE_POLICY_MAX_FAILURES,
]


class Deeds:
    """One method for each; `own` are the ids of a client's workflows and operations."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._workflows: list[str] = []
        self._operations: list[str] = []

    async def do(self, client: Client) -> None:
        """One of them, at random."""
        deeds = [
            (6, self.submit_workflow),
            (4, self.resume_workflow),
            (1, self.cancel_workflow),
            (3, self.drain),
            (2, self.retry_cause),
            (1, self.discard_cause),
            (2, self.undo),
            (1, self.run_everywhere),
        ]
        deed = client.random.choices([deed for _, deed in deeds], [weight for weight, _ in deeds])[0]
        await deed(client)

    async def submit_workflow(self, client: Client) -> None:
        request = pb.SubmitWorkflowRequest(mutation=client.mutation(), name="sim")
        some_workflow(client.random, request)
        reply = await client.change("SubmitWorkflow", request)
        if isinstance(reply, pb.SubmitWorkflowReply):
            self._workflows.append(reply.id)
            self._world.checker.promised(Table.WORKFLOWS, reply.id)
            for member in range(reply.tasks):
                self._world.checker.submitted(member_id(reply.id, member), request.mutation.request_id)

    async def resume_workflow(self, client: Client) -> None:
        if self._workflows:
            chosen = client.random.choice(self._workflows[-5:])
            key = client.random.choice(["", "", "k0", "k2"])
            request = pb.ResumeWorkflowRequest(mutation=client.mutation(), id=chosen, key=key)
            await client.change("ResumeWorkflow", request)

    async def cancel_workflow(self, client: Client) -> None:
        if self._workflows:
            chosen = client.random.choice(self._workflows)
            await client.change("CancelWorkflow", pb.CancelWorkflowRequest(mutation=client.mutation(), id=chosen))

    async def drain(self, client: Client) -> None:
        rng = client.random
        request = pb.DrainRequest(
            mutation=client.mutation(),
            node=rng.choice(self._world.hosts).id,
            deadline_ms=rng.choice([2000, 6000]),
            undo_window_ms=rng.choice([0, 500, 1500]),
            max_parallel=rng.choice([0, 1]),
            force=rng.random() < 0.3,
            keep_cordoned=rng.random() < 0.2,
        )
        reply = await client.change("DrainNode", request)
        if isinstance(reply, pb.DrainNodeReply):
            self._committed(reply.operation_id)
            await asyncio.sleep(rng.uniform(0.0, 8.0))
            await self.uncordon(client, request.node)

    async def uncordon(self, client: Client, node: str) -> None:
        await client.ask("UncordonNode", pb.CordonNodeRequest(mutation=client.mutation(), node=node), patience=20)

    async def retry_cause(self, client: Client) -> None:
        rng = client.random
        cause = await self._cause(client)
        if cause:
            window_ms = rng.choice([0, 500, 1500])
            request = pb.RetryTaskRequest(mutation=client.mutation(), fingerprint=cause, undo_window_ms=window_ms)
            request.canary = rng.random() < 0.5
            self._started(await client.change("RetryTask", request))

    async def discard_cause(self, client: Client) -> None:
        cause = await self._cause(client)
        if cause:
            request = pb.CancelTaskRequest(mutation=client.mutation(), fingerprint=cause, reason="sim")
            request.undo_window_ms = client.random.choice([0, 1000])
            self._started(await client.change("DiscardTask", request))

    async def undo(self, client: Client) -> None:
        if self._operations:
            method = client.random.choice(["UndoOperation", "UndoOperation", "StopOperation"])
            chosen = client.random.choice(self._operations[-3:])
            await client.change(method, pb.StopOperationRequest(mutation=client.mutation(), id=chosen))

    async def run_everywhere(self, client: Client) -> None:
        task = some_task(client.random)
        task.ClearField("submit_key")
        task.name = EVERYWHERE
        request = pb.RunOnNodesRequest(mutation=client.mutation(), task=task, all=True)
        reply = await client.change("RunOnNodes", request)
        if isinstance(reply, pb.RunOnNodesReply):
            self._committed(reply.operation_id)
            for task_id in reply.task_ids:
                self._world.checker.submitted(task_id, request.mutation.request_id)

    async def _cause(self, client: Client) -> str:
        reply = await client.ask("ListCauses", pb.ListCausesRequest(), patience=3)
        causes = reply.causes if isinstance(reply, pb.ListCausesReply) else []
        return client.random.choice(causes).fingerprint if causes else ""

    def _started(self, reply: object) -> None:
        if isinstance(reply, pb.MutationReply):
            self._committed(reply.operation_id)

    def _committed(self, operation: str) -> None:
        self._operations.append(operation)
        self._world.checker.promised(Table.OPERATIONS, operation)


def some_workflow(rng: random.Random, request: pb.SubmitWorkflowRequest) -> None:
    """Up to eight tasks, each depending on some of those before it, with rules and conditions among them."""
    request.policy = rng.choice(_POLICIES)
    request.max_failures = 1 if request.policy == types_pb2.FAILURE_POLICY_MAX_FAILURES else 0
    count = rng.randint(1, 8)
    for number in range(count):
        task = some_task(rng)
        task.ClearField("submit_key")
        task.name = f"{request.mutation.request_id}.{number}"
        item = request.tasks.add(key=f"k{number}", task=task, can_fail=rng.random() < 0.2)
        item.depends_on.extend(f"k{other}" for other in range(number) if rng.random() < 0.4)
        if item.depends_on:
            item.rule = rng.choice(_RULES)
            if rng.random() < 0.35:
                item.condition = f"parent.{item.depends_on[0]}.exitCode === 0"
    if rng.random() < 0.3:
        last = request.tasks.add(key="last", task=some_task(rng))
        last.task.ClearField("submit_key")
        last.task.name = f"{request.mutation.request_id}.last"
        setattr(last, "finally", True)
