"""A second, naive telling of what docs/semantics.md promises of single tasks: dicts and loops, no index, no digest.

It shares nothing with node.core but the messages, and is asked about one command at a time.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from cortex.v1 import types_pb2 as t
from cortex.v1.log_pb2 import (
    Command,
    TaskAssign,
    TaskCancel,
    TaskComplete,
    TaskDeadLetter,
    TaskEscalate,
    TaskFailed,
    TaskLost,
    TaskMigrate,
    TaskRecalled,
    TaskRetry,
    TaskStarted,
    TaskStopped,
    TaskSubmit,
)

DAY_US = 24 * 3600 * 1_000_000
LOST_MACHINES = 5
ON_NODE = ("assigned", "running")
ENDED = ("completed", "failed", "cancelled", "skipped", "dead_letter")


@dataclass
class Job:
    spec: t.TaskSpec
    key: str
    written: bytes
    state: str = "queued"
    node: str = ""
    fence: int = 0
    attempt: int = 0
    run: int = 1
    losses: int = 0
    lost: bool = False
    cancelling: bool = False
    migrating: bool = False
    idle: bool = False
    idles: int = 0
    excused: bool = False
    unstartable: set[str] = field(default_factory=set)
    created_us: int = 0
    queued_us: int = 0
    due_us: int = 0
    ended_us: int = 0


@dataclass
class Box:
    slots: int
    cpu: int
    memory: int
    active: bool = True
    online: bool = True


class SmallModel:
    """Tell it of machines with join(), of commands with tell(); it says whether the command is accepted."""

    def __init__(self) -> None:
        self.jobs: dict[str, Job] = {}
        self.boxes: dict[str, Box] = {}
        self.now_us = 0
        self.index = 0

    def join(self, name: str, slots: int, cpu: int, memory: int) -> None:
        self.boxes[name] = Box(slots, cpu, memory)

    def tell(self, command: Command, index: int, now_us: int) -> bool:
        self.now_us, self.index = max(self.now_us, now_us), index
        kind = command.WhichOneof("kind") or ""
        accepted: bool = getattr(self, kind)(getattr(command, kind))
        return accepted

    # Machines

    def node_join(self, command: object) -> bool:
        name = command.node.id  # type: ignore[attr-defined]
        self.boxes[name].online = True
        return True

    def node_leave(self, command: object) -> bool:
        self.boxes[command.id].online = False  # type: ignore[attr-defined]
        return True

    def node_cordon(self, command: object) -> bool:
        self.boxes[command.id].active = not command.cordoned  # type: ignore[attr-defined]
        return True

    # Into the queue and onto a machine

    def task_submit(self, command: TaskSubmit) -> bool:
        plain = TaskSubmit()
        plain.CopyFrom(command)
        plain.id = ""
        written = plain.SerializeToString(deterministic=True)
        for job in self.jobs.values():
            standing = job.state not in ENDED or self.now_us < job.ended_us + DAY_US
            if command.submit_key and job.key == command.submit_key and standing:
                return job.written == written
        self.jobs[command.id] = Job(
            command.spec, command.submit_key, written, created_us=self.now_us, queued_us=self.now_us
        )
        return True

    def task_assign(self, command: TaskAssign) -> bool:
        job, box = self.jobs.get(command.id), self.boxes.get(command.placement.node)
        if job is None or box is None or job.state != "queued" or job.due_us > self.now_us:
            return False
        there = [other for other in self.on_nodes() if other.node == command.placement.node]
        if not box.active or not box.online or len(there) >= box.slots + 512:
            return False
        wanted = job.spec.requests
        if wanted.cpu_millis and sum(one.spec.requests.cpu_millis for one in there) + wanted.cpu_millis > box.cpu:
            return False
        held = sum(one.spec.requests.memory_bytes for one in there)
        if wanted.memory_bytes and held + wanted.memory_bytes > box.memory:
            return False
        if any(lock in other.spec.locks for other in self.on_nodes() for lock in job.spec.locks):
            return False
        sharing = [other for other in self.on_nodes() if other.spec.limit_key == job.spec.limit_key]
        if job.spec.limit_count and sum(bool(one.spec.limit_count) for one in sharing) >= job.spec.limit_count:
            return False
        job.state, job.node, job.fence, job.due_us = "assigned", command.placement.node, self.index, 0
        return True

    def on_nodes(self) -> list[Job]:
        return [job for job in self.jobs.values() if job.state in ON_NODE]

    def held(self, task_id: str, fence: int) -> Job | None:
        """The job that a report is about; None for a report under a fence that does not hold."""
        job = self.jobs.get(task_id)
        return job if job is not None and job.state in ON_NODE and job.fence == fence else None

    def task_started(self, command: TaskStarted) -> bool:
        job = self.held(command.id, command.fence)
        if job is None:
            return False
        job.state, job.lost = "running", False
        return True

    # Back into the queue

    def queue(self, job: Job, delay_us: int = 0) -> None:
        job.state, job.queued_us = "queued", self.now_us
        job.due_us = self.now_us + delay_us if delay_us else 0
        job.lost = job.migrating = False

    def end(self, job: Job, state: str) -> bool:
        job.state, job.ended_us = state, self.now_us
        job.lost = job.cancelling = job.migrating = False
        return True

    def task_recalled(self, command: TaskRecalled) -> bool:
        job = self.held(command.id, command.fence)
        if job is None or job.state != "assigned":
            return False
        if job.cancelling:
            return self.end(job, "cancelled")
        self.queue(job)
        return True

    def task_stopped(self, command: TaskStopped) -> bool:
        job = self.held(command.id, command.fence)
        if job is None:
            return False
        if job.cancelling:
            return self.end(job, "cancelled")
        if command.cause == t.CAUSE_CANCEL:
            return False
        begun = job.state == "running" or command.result.started_at_us > 0
        if command.cause == t.CAUSE_LEASE:
            self.queue(job)
        elif command.cause == t.CAUSE_MIGRATE and begun and not job.spec.retry.retryable:
            self.end(job, "dead_letter")
        else:
            self.moves(job)
        return True

    def moves(self, job: Job) -> None:
        """It left as it was asked to: five times for idleness costs nothing, after that it is an attempt."""
        if job.migrating and job.idle:
            job.idles += 1
            if job.idles > 5:
                self.used_up(job, again=job.spec.retry.retryable, delay_us=0)
                return
            self.avoid(job)
        self.queue(job)

    def avoid(self, job: Job) -> bool:
        """Another machine is to have it, if there is one."""
        others = [name for name, box in self.boxes.items() if box.active and box.online and name != job.node]
        if job.node in job.unstartable or not any(name not in job.unstartable for name in others):
            return False
        job.unstartable.add(job.node)
        return True

    def task_lost(self, command: TaskLost) -> bool:
        job = self.held(command.id, command.fence)
        if job is None:
            return False
        if job.cancelling:
            return self.end(job, "cancelled")
        if job.migrating and job.spec.on_lost != t.ON_LOST_HOLD:
            self.moves(job)
        else:
            self.loses(job)
        return True

    def loses(self, job: Job) -> None:
        if job.spec.on_lost in (t.ON_LOST_HOLD, t.ON_LOST_WAIT):
            job.lost = True
            return
        job.losses += 1
        if job.losses < LOST_MACHINES:
            self.queue(job)
        else:
            self.end(job, "dead_letter")

    def task_migrate(self, command: TaskMigrate) -> bool:
        job = self.jobs.get(command.id)
        if job is None or job.state not in ON_NODE or job.lost:
            return False
        if command.fence and command.fence != job.fence:
            return False
        if not job.migrating and not job.cancelling:
            job.migrating, job.idle = True, command.idle
        return True

    def task_escalate(self, command: TaskEscalate) -> bool:
        job = self.held(command.id, command.fence)
        return job is not None and job.state == "running"

    # Ends

    def succeeded(self, job: Job, result: t.TaskResult) -> bool:
        good = (0, *job.spec.success_codes)
        return result.HasField("exit_code") and not result.signal and result.exit_code in good

    def task_complete(self, command: TaskComplete) -> bool:
        job = self.held(command.id, command.fence)
        return job is not None and self.succeeded(job, command.result) and self.end(job, "completed")

    def task_failed(self, command: TaskFailed) -> bool:
        job = self.held(command.id, command.fence)
        if job is None or (command.cause == t.CAUSE_EXIT and self.succeeded(job, command.result)):
            return False
        if job.cancelling:
            return self.end(job, "cancelled")
        if command.cause == t.CAUSE_SUPERVISOR:
            self.loses(job)
            return True
        if command.cause == t.CAUSE_CANNOT_START and self.spared(job):
            self.queue(job)
            return True
        again = job.spec.retry.retryable and command.result.exit_code not in job.spec.no_retry_codes
        blamed = command.blame == t.BLAME_NODE and not job.excused and job.spec.retry.max_retries
        blamed = blamed and command.cause != t.CAUSE_CANNOT_START
        if again and blamed and self.avoid(job):
            job.excused = True
            self.queue(job)
            return True
        self.used_up(job, again, command.retry_delay_us)
        return True

    def used_up(self, job: Job, again: bool, delay_us: int) -> None:
        if again and job.attempt < job.spec.retry.max_retries:
            job.attempt += 1
            self.queue(job, delay_us)
        else:
            self.end(job, "failed" if job.spec.on_exhausted == t.ON_EXHAUSTED_FAIL else "dead_letter")

    def spared(self, job: Job) -> bool:
        """A machine cannot start the command: excluded, and for the first one nothing is counted."""
        first = not job.unstartable
        job.unstartable.add(job.node)
        if any(box.active and box.online and name not in job.unstartable for name, box in self.boxes.items()):
            return first
        job.unstartable.clear()
        return False

    def task_dead_letter(self, command: TaskDeadLetter) -> bool:
        job = self.jobs.get(command.id)
        if job is None or job.state != "queued" or not job.spec.queue_timeout_ms:
            return False
        since_us = max(job.queued_us, job.due_us)
        return self.now_us >= since_us + job.spec.queue_timeout_ms * 1000 and self.end(job, "dead_letter")

    # Operators

    def task_cancel(self, command: TaskCancel) -> bool:
        job = self.jobs.get(command.id)
        if job is None or (job.state in ENDED and job.state != "dead_letter"):
            return False
        if job.state == "dead_letter":
            return bool(command.reason) and self.end(job, "cancelled")
        if job.state in ("pending", "queued") or job.lost:
            return self.end(job, "cancelled")
        job.cancelling = True
        return True

    def task_retry(self, command: TaskRetry) -> bool:
        job = self.jobs.get(command.id)
        lost = job is not None and job.state in ON_NODE and job.lost
        if job is None or not (lost or job.state in ("dead_letter", "failed")):
            return False
        if command.HasField("edited_spec"):
            job.spec = command.edited_spec
        job.run, job.attempt, job.losses, job.idles, job.excused = job.run + 1, 0, 0, 0, False
        job.cancelling = False
        job.unstartable.clear()
        self.queue(job)
        return True
