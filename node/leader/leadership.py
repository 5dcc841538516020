"""The duties of a leader, begun when it serves and ended when it no longer does.

All of them are level-triggered: a new leader derives everything from the applied state and from what workers say.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext

import structlog

from cortex.v1 import log_pb2
from cortex.v1.cluster_pb2 import NodeVerdict, NodeView, Waiting
from cortex.v1.log_pb2 import Command, TaskLost
from cortex.v1.types_pb2 import Resources, Task, TaskProgress
from node.conditions.port import Judge, Question, Unanswered
from node.core import explain
from node.core.faults import Code, Fault
from node.core.model import Change, Table
from node.env import Env
from node.leader import views
from node.leader.alarms import Alarms
from node.leader.clock import ClockAlarm
from node.leader.dispatch import Dispatch
from node.leader.drains import Drains
from node.leader.express import Express
from node.leader.health import Health
from node.leader.history import History
from node.leader.leases import Leases
from node.leader.members import Members
from node.leader.operations import Operations
from node.leader.placement import Placement
from node.leader.planner import Planner
from node.leader.port import Replica, Settings
from node.leader.progress import Progress
from node.leader.quiet import Quiet, Vacate
from node.leader.rehearsals import Rehearsals
from node.leader.reports import Reports
from node.leader.roster import Roster
from node.leader.samples import Samples, Then
from node.leader.sessions import Sessions, first_hello, not_leader
from node.leader.times import Times
from node.leader.waits import Waits
from node.leader.workflows import Workflows
from node.link import LeaderStream, LinkClosed

_LEASE_ENDED = "Its machine did not renew its lease."
_GOODBYE_S = 1.0


class Leadership:
    """Call begin() and end() when serving starts and stops, observe() after every applied batch."""

    def __init__(self, env: Env, replica: Replica, settings: Settings, judge: Judge) -> None:
        self._env = env
        self._judge = judge
        self._checks = 0
        self._replica = replica
        self._settings = settings
        self.times = Times(replica, settings)
        self._log = structlog.get_logger(node=settings.node_id)
        self._quiet = Quiet(env.clock)
        self._reign: _Reign | None = None
        self._ended: list[asyncio.Task[None]] = []

    def begin(self, term: int) -> None:
        """Take up all duties for `term`, from the state as it is applied now."""
        self.end()
        self._log.info("leading", term=term)
        self._reign = _Reign(self._env, self._replica, self._settings, self._quiet, self._judge)
        self._reign.begin()

    def end(self) -> None:
        """Drop all duties; workers are told who leads now."""
        reign, self._reign = self._reign, None
        if reign is not None:
            self._log.info("not leading")
            goodbye = asyncio.ensure_future(reign.end())
            self._ended = [task for task in self._ended if not task.done()] + [goodbye]

    async def stop(self) -> None:
        """end(), and wait until the sessions are closed."""
        self.end()
        await asyncio.gather(*self._ended, return_exceptions=True)

    def observe(self, changes: Sequence[Change], index: int) -> None:
        """Act upon what an applied batch changed; `index` is the batch's last."""
        if self._reign is None:
            return
        try:
            self._reign.observe(changes, index)
        except Exception:
            # What was missed stands in the state: begin anew from there rather than stop the daemon.
            self._log.exception("duties begin anew", index=index)
            self.begin(self._replica.term)

    async def condition_flaw(self, conditions: Iterable[str]) -> tuple[str, str] | None:
        """The first of these that is no JavaScript expression, and why; whether this daemon leads or not.

        One that cannot be checked now counts as good: it is judged when its dependencies have ended.
        """
        self._checks += 1
        try:
            for condition in conditions:
                answer = await self._judge.judge(Question(condition, syntax_only=True))
                if answer.error and not answer.timed_out:
                    return condition, answer.error
        except Unanswered as error:
            self._log.warning("conditions not checked", error=str(error))
        finally:
            self._checks -= 1
            if not self._checks and self._reign is None:
                await self._judge.close()
        return None

    async def quiesce(self, hold_us: int, wait_us: int) -> tuple[int, int] | None:
        """Place nothing for `hold_us`, whenever this daemon leads, and have what runs queued again.

        Returns when nothing runs any more, at the latest after `wait_us`: tasks given back, and tasks left. None
        when this daemon does not lead, or not to the end.
        """
        self._quiet.hold(hold_us)
        reign = self._reign
        if reign is None:
            return None
        self._log.info("places nothing", seconds=hold_us / 1e6)
        counts = await reign.vacate.done(wait_us / 1e6)
        return counts if reign is self._reign and self._replica.serving else None

    async def session(self, stream: LeaderStream) -> None:
        """Serve Worker.Session; returns when the stream is over."""
        try:
            hello = await first_hello(stream, self._settings.hello_timeout_ms)
            reign = self._reign
            if hello is None:
                return
            if reign is None or not self._replica.serving:
                await stream.send(not_leader(self._replica, self._settings))
            else:
                await reign.sessions.serve(stream, hello)
        except LinkClosed:
            return
        finally:
            await stream.close()

    def placing(self, submission: log_pb2.TaskSubmit) -> AbstractContextManager[list[Command]]:
        """Commands that are to follow a submission in its entry; it is proposed within this context."""
        if self._reign is None or not self._replica.serving:
            return nullcontext([])
        return self._reign.express.placing(submission)

    @property
    def samples(self) -> dict[str, Resources]:
        """The last sample of every connected node; empty when this daemon does not lead."""
        return self._reign.roster.samples() if self._reign is not None else {}

    def node_views(self) -> list[NodeView]:
        """Every node with its sample and its score for a plain shell task, by id."""
        roster = self._reign.roster if self._reign is not None else Roster()
        return views.node_views(self._replica, roster, self._env.clock.boot_us())

    def waiting(self) -> list[Waiting]:
        """What due tasks wait for, by what they ask for."""
        return self._reign.waits.all() if self._reign is not None else []

    def progress(self) -> list[TaskProgress]:
        """Of all tasks that run and told how far they are."""
        return self._reign.progress.all() if self._reign is not None else []

    def progress_of(self, task_id: str) -> TaskProgress | None:
        return self._reign.progress.of(task_id) if self._reign is not None else None

    def wait_reason(self, task_id: str) -> str:
        """Why a queued task waits; empty when its turn is next, or nothing is known yet."""
        return self._reign.waits.reason(task_id) if self._reign is not None else ""

    @property
    def rehearsals(self) -> Rehearsals:
        """Of drains. Raises Fault when this daemon does not lead."""
        if self._reign is None or not self._replica.serving:
            message = "This daemon does not lead any more, so nothing was changed."
            raise Fault(Code.NO_LEADER, message, "Try again; see `cortex status` if it persists.")
        return self._reign.rehearsals

    def samples_at(self, at_us: int) -> dict[str, Then]:
        """What is kept of the nodes of about that leader time."""
        return self._reign.samples.at(at_us) if self._reign is not None else {}

    def why(self, task: Task) -> list[NodeVerdict]:
        """For every node whether it could take `task` now, and if not why and what would change that, by id."""
        limits = self._reign.planner.limits(self._replica.state) if self._reign is not None else None
        return explain.why(self._replica.state, self.samples, task, limits, self._replica.now_us())


class _Reign:
    """What lives from one begin() to its end()."""

    def __init__(self, env: Env, replica: Replica, settings: Settings, quiet: Quiet, judge: Judge) -> None:
        clock = env.clock
        self._replica = replica
        self._log = structlog.get_logger(node=settings.node_id)
        self._retry_s = settings.retry_ms / 1000
        self._begun_index = replica.state.index
        self._duties: list[asyncio.Task[None]] = []
        self.roster = Roster()
        self.progress = Progress(lambda: replica.state)
        self.planner = Planner(clock, settings, self.roster)
        self.waits = Waits(clock, replica, self.planner)
        self.samples = Samples(replica, self.roster, self.planner)
        self._placement = Placement(clock, replica, settings, self.roster, self.planner, quiet)
        self._leases = Leases(clock, replica, settings, self._lose)
        self._reports = Reports(env.random, replica, settings)
        self._reports.before_record = self._placement.join
        self._health = Health(clock, replica, settings, self.roster, self._placement.wake)
        self.vacate = Vacate(clock, replica, settings, self.roster, quiet)
        self._history = History(clock, replica, settings)
        self._operations = Operations(clock, replica, settings)
        self._workflows = Workflows(replica, settings, judge)
        self.rehearsals = Rehearsals(clock, replica, self.planner, env.new_id)
        self._drains = Drains(clock, replica, settings, self.rehearsals)
        self._alarms = Alarms(replica, settings)
        self._clock_alarm = ClockAlarm(replica, settings)
        self._members = Members(clock, replica, settings)
        self.express = Express(replica, self.roster, self.planner, quiet, self._placement.wake)
        self._dispatch = Dispatch(clock, Times(replica, settings), self.roster, self._leases, self._reports)
        self.sessions = Sessions(
            clock,
            replica,
            settings,
            self.roster,
            self._leases,
            self._reports,
            changed=self._placement.wake,
            sampled=self._placement.sampled,
            progress=self.progress.told,
        )

    def begin(self) -> None:
        self.planner.begin(self._replica.state)
        self._leases.begin()
        self._health.begin()
        self._placement.begin()
        duties: list[Callable[[], Coroutine[None, None, None]]] = [
            self._placement.run,
            self._reports.flush,
            self._leases.confirm_renewals,
            self._leases.end_leases,
            self._health.watch,
            self.samples.run,
            self._history.trim,
            self._operations.run,
            self._workflows.run,
            self.vacate.run,
            self._drains.run,
            self._alarms.run,
            self._clock_alarm.run,
            self._members.run,
        ]
        self._duties = [asyncio.ensure_future(self._keep(duty)) for duty in duties]

    async def end(self) -> None:
        for duty in self._duties:
            duty.cancel()
        self.sessions.end()
        await asyncio.gather(*self._duties, return_exceptions=True)
        await self.sessions.closed(_GOODBYE_S)

    def observe(self, changes: Sequence[Change], index: int) -> None:
        if index <= self._begun_index:
            return  # the batch whose end began this reign: begin() has read its outcome
        # Events tell what the rows say themselves.
        changes = [change for change in changes if change.table is not Table.EVENTS]
        others = [change for change in changes if change.table is not Table.TASKS]
        self._dispatch.observe(changes)
        self._placement.observe(changes)
        self.progress.observe(changes)
        self.samples.observe(changes)
        self._operations.observe(others)
        self._workflows.observe(others)
        self.vacate.observe(changes)
        self.rehearsals.observe(changes)
        self._drains.observe(changes)
        self._alarms.observe(changes)
        self._members.observe(others)

    async def _keep(self, duty: Callable[[], Coroutine[None, None, None]]) -> None:
        """Run a duty until it is cancelled; one that fails is begun again, since it works from the state."""
        while True:
            try:
                await duty()
            except Exception:
                self._log.exception("duty failed", duty=duty.__qualname__)
            await asyncio.sleep(self._retry_s)

    async def _lose(self, tasks: list[Task]) -> bool:
        commands = [
            Command(task_lost=TaskLost(id=task.id, fence=task.fence, reason=_LEASE_ENDED)) for task in tasks
        ]
        try:
            await self._replica.execute(commands)
        except Fault as fault:
            self._log.warning("losses not recorded", error=fault.message)
            return False
        return True
