"""Verdicts on conditions: every pending task whose dependencies have all ended is judged, and the verdict proposed.

Level-triggered: what waits for a verdict stands in the state, so a new leader judges what the last one did not.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import NamedTuple

import structlog

from cortex.v1.log_pb2 import Command, WorkflowAdvance
from cortex.v1.types_pb2 import Task, Workflow
from node.conditions.inputs import question
from node.conditions.port import Answer, Crashed, Judge, Unanswered
from node.core import rules
from node.core.faults import Fault
from node.core.model import CANCELLED, LIVE_WORKFLOW, PENDING, Change, Table, member_id
from node.leader.port import Replica, Settings

# Verdicts of one entry; what comes after has to wait no longer than for these.
_PAGE = 50
_LONGEST_RETRY_S = 30.0


class _Retry(NamedTuple):
    due_s: float  # by the loop's clock
    delay_s: float


class Workflows:
    """A duty: run() while this daemon leads."""

    def __init__(self, replica: Replica, settings: Settings, judge: Judge) -> None:
        self._replica = replica
        self._judge = judge
        self._retry_s = settings.retry_ms / 1000
        self._log = structlog.get_logger(node=settings.node_id)
        self._dirty: dict[str, None] = {}
        self._retries: dict[str, _Retry] = {}  # by task id
        self._wake = asyncio.Event()

    def observe(self, changes: Iterable[Change]) -> None:
        # A workflow's row changes with every end of a member.
        self._mark(change.id for change in changes if change.table is Table.WORKFLOWS and change.new is not None)

    async def run(self) -> None:
        """Runs until cancelled."""
        self._retries.clear()
        self._mark(self._replica.state.workflows)
        try:
            while True:
                await self._pause()
                found, self._dirty = self._dirty, {}
                tasks = [task for workflow_id in found for task in self._ready(workflow_id)]
                for start in range(0, len(tasks), _PAGE):
                    await self._advance(tasks[start : start + _PAGE])
        finally:
            await self._judge.close()

    def _mark(self, workflow_ids: Iterable[str]) -> None:
        self._dirty.update(dict.fromkeys(workflow_ids))
        if self._dirty:
            self._wake.set()

    async def _pause(self) -> None:
        """Until something has changed, or a task that could not be judged is to be tried again."""
        loop = asyncio.get_running_loop()
        due_s = min((retry.due_s for retry in self._retries.values()), default=math.inf)
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, due_s - loop.time()) if due_s < math.inf else None):
                await self._wake.wait()
        self._wake.clear()
        for task_id, retry in self._retries.items():
            if retry.due_s <= loop.time():
                self._dirty[task_id.rpartition(".")[0]] = None

    def _ready(self, workflow_id: str) -> Iterator[Task]:
        """Tasks that wait for nothing but a verdict, and are not to be tried again later."""
        state, now_s = self._replica.state, asyncio.get_running_loop().time()
        workflow, dag = state.workflows.get(workflow_id), state.dags.get(workflow_id)
        if dag is None:
            self._retries = {key: retry for key, retry in self._retries.items() if key in state.tasks}
            return
        live = workflow is not None and workflow.state in LIVE_WORKFLOW
        for number in dag.conditional:
            task = state.tasks[member_id(workflow_id, number)]
            if not live or task.state != PENDING or not dag.is_ready(number):
                self._retries.pop(task.id, None)
            elif task.id not in self._retries or self._retries[task.id].due_s <= now_s:
                yield task

    async def _advance(self, tasks: Sequence[Task]) -> None:
        """Judge these, and record the verdicts in one entry."""
        commands: list[Command] = []
        for task in tasks:
            command = await self._verdict(task)
            if command is None:
                continue
            if command.workflow_advance.unanswered:
                self._try_later(task.id)
                if not command.workflow_advance.crashed and command.workflow_advance.unanswered in task.reason:
                    continue  # which is said already
            commands.append(command)
        if not commands:
            return
        try:
            reply = await self._replica.execute(commands)
        except Fault as fault:
            self._log.warning("verdicts not recorded", error=fault.message)
            for command in commands:
                self._try_later(command.workflow_advance.task)
            return
        for command, answer in zip(commands, reply.commands, strict=True):
            task_id = command.workflow_advance.task
            if command.workflow_advance.unanswered:
                continue
            if answer.accepted:
                self._retries.pop(task_id, None)
            else:
                self._try_later(task_id)  # unless it waits no more

    def _try_later(self, task_id: str) -> None:
        known = self._retries.get(task_id)
        delay_s = min(2 * known.delay_s, _LONGEST_RETRY_S) if known is not None else self._retry_s
        self._retries[task_id] = _Retry(asyncio.get_running_loop().time() + delay_s, delay_s)

    async def _verdict(self, task: Task) -> Command | None:
        """The command that says it, or that there is none yet; None when it waits no more."""
        state = self._replica.state
        workflow = state.workflows.get(task.workflow_id)
        if workflow is None or state.tasks.get(task.id) is not task:
            return None  # judged when what changed is seen
        parents = [state.tasks[member_id(workflow.id, number)] for number in task.depends_on]
        verdict = WorkflowAdvance(
            task=task.id, input_sha256=rules.input_sha256(parents), context_index=self._replica.state.index
        )
        try:
            answer = await self._answer(task, parents, workflow)
        except Unanswered as error:
            self._log.warning("condition not judged", task=task.id, error=str(error))
            verdict.unanswered, verdict.crashed = str(error), isinstance(error, Crashed)
        else:
            verdict.verdict = answer.value
            verdict.condition_error, verdict.timed_out = answer.error, answer.timed_out
        return Command(workflow_advance=verdict)

    async def _answer(self, task: Task, parents: Sequence[Task], workflow: Workflow) -> Answer:
        """Raises Unanswered."""
        stopped = workflow.stopping or workflow.cancel_requested
        if rules.denial(task.rule, parents, lambda parent: stopped and parent.state == CANCELLED) is not None:
            return Answer(False)  # apply says the same, and why
        return await self._judge.judge(question(task, parents, workflow))
