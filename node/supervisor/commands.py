"""The commands that run: spawned, drained, ended with their families, reaped; their results recorded and told."""

from __future__ import annotations

import os
import resource
import select
import signal
import sys
from collections.abc import Callable

from node.supervisor import wire
from node.supervisor.attempt import NEVER, Attempt, Order, boot_us, unstarted
from node.supervisor.capture import Capture
from node.supervisor.confiner import Confiner
from node.supervisor.family import Family
from node.supervisor.folders import Folders
from node.supervisor.journal import Journal
from node.supervisor.place import Place
from node.supervisor.reaper import Reaper
from node.supervisor.spawn import Busy, CannotStart, Spawner
from node.supervisor.waiting import Waiting

_FAMILY_US = 50_000
_CATCH_UP_BYTES = 256 * 1024
# Of a command: two pipes and two files. Of the supervisor: its own, connections, what it opens for a moment.
_DESCRIPTORS, _RESERVED_DESCRIPTORS = 4, 48


class Commands:
    """Attempts from their spawn to their result. `wake_us` is when meet_deadlines() is due, on the boot clock."""

    def __init__(
        self,
        place: Place,
        epoll: select.epoll,
        journal: Journal,
        family: Family,
        spawner: Spawner,
        waiting: Waiting,
        say: Callable[..., None],
        state: dict[str, object] | None = None,
    ) -> None:
        """`state` is that of an object that goes on in this one. Raises LookupError, TypeError or ValueError."""
        kept = state or {}
        self._epoll = epoll
        self._journal = journal
        self._family = family
        self._confiner = Confiner(spawner, place.identity)
        self._waiting = waiting
        self._say = say
        self._by_pid: dict[int, Attempt] = {}
        self._pipes: dict[int, Attempt] = {}
        self._ending: dict[str, Attempt] = {}
        self._folders = Folders(f"{place.data}/work", kept.get("folders"))  # type: ignore[arg-type]
        self._output_fd = _output_fd(place) if state is None else int(kept["output_fd"])  # type: ignore[call-overload]
        self._behind: list[Capture] = []
        self.reaper = Reaper()
        self.attempts: dict[str, Attempt] = {}
        self.cap_bytes = 64 * 1024 * 1024
        self.wake_us = NEVER
        if state is not None:
            self._restore(state)

    @property
    def behind(self) -> bool:
        """Whether catch_up() has something to do."""
        return bool(self._behind)

    @property
    def descriptors(self) -> list[int]:
        """All that state() names."""
        found = [self._output_fd]
        for attempt in self.attempts.values():
            found += attempt.stdout.descriptors + attempt.stderr.descriptors
        return found

    def state(self) -> dict[str, object]:
        return {
            "attempts": [attempt.state() for attempt in self.attempts.values()],
            "ending": list(self._ending),
            "folders": self._folders.state(),
            "family": self._family.state(),
            "memory": self.reaper.memory.state(),
            "output_fd": self._output_fd,
            "cap_bytes": self.cap_bytes,
        }

    def _restore(self, state: dict[str, object]) -> None:
        for item in state["attempts"]:  # type: ignore[attr-defined]
            attempt = Attempt.restored(item, self._output_fd)
            self.attempts[attempt.order.key] = attempt
            if attempt.pid:
                self._by_pid[attempt.pid] = attempt
            self.reaper.follow(attempt)
            for capture in (attempt.stdout, attempt.stderr):
                if capture.open:
                    self._pipes[capture.fd] = attempt
                if capture.behind:
                    self._behind.append(capture)
        self._ending = {key: self.attempts[key] for key in state["ending"]}  # type: ignore[attr-defined]
        self._family.restore(state["family"])  # type: ignore[arg-type]
        self.reaper.memory.restore(state["memory"])  # type: ignore[arg-type]
        self.cap_bytes = state["cap_bytes"]  # type: ignore[assignment]

    def resume(self) -> None:
        """Watch over what was restored, and see what happened meanwhile."""
        for fd in self._pipes:
            self._epoll.register(fd, select.EPOLLIN)
        self.wake_us = 0
        self.reap()

    def close(self) -> None:
        """Nothing runs any more."""
        self._confiner.close()

    def catch_up(self) -> None:
        """Hash some more of what earlier programs had kept."""
        capture = self._behind[-1]
        if capture.behind:
            capture.catch_up(_CATCH_UP_BYTES)
        else:
            self._behind.pop()

    def refuse(self, key: str, why: str) -> None:
        """Record that it never starts."""
        self._journal.mark(key, boot_us())
        self._record(key, unstarted(wire.CAUSE_CANNOT_START, why))

    def start(self, order: Order) -> None:
        """Spawn it, or record why not. What nobody foresaw is this order's end, not its batch's. Raises Busy."""
        try:
            self._spawn(order)
        except CannotStart as refusal:
            self._cannot_start(order, str(refusal))
        except Exception as error:
            if isinstance(error, Busy):
                raise
            sys.excepthook(*sys.exc_info())
            self._cannot_start(order, f"The supervisor failed at its start: {error!r}. See supervisor/log there.")

    def read(self, fd: int) -> bool:
        """Whether `fd` is a command's pipe; what it has to say is taken."""
        attempt = self._pipes.get(fd)
        if attempt is None:
            return False
        capture = attempt.stdout if attempt.stdout.fd == fd else attempt.stderr
        if capture.read():
            attempt.output_us = boot_us()
        if not capture.open:
            del self._pipes[fd]
            if not attempt.pid:
                self._settle(attempt, boot_us())
        return True

    def reap(self) -> None:
        """Take the dead, and end what is left of their commands."""
        now_us = boot_us()
        ended = self.reaper.reap(self._by_pid, now_us)
        if ended or self._ending:
            children = self._orphans()
            for attempt in {**self._ending, **{attempt.order.key: attempt for attempt in ended}}.values():
                self._settle(attempt, now_us, children)

    def stop(self, attempt: Attempt, cause: int, kill_timeout_us: int) -> None:
        """TERM now, KILL after `kill_timeout_us`."""
        now_us = boot_us()
        if attempt.begin_stop(cause, kill_timeout_us, now_us):
            self._family.signal(attempt, self._family.of(attempt, self._orphans(), self.attempts), signal.SIGTERM)
        self.wake_us = min(self.wake_us, attempt.next_us())

    def meet_deadlines(self, now_us: int) -> None:
        """Do what is due by now: timeouts, leases, kills, notices."""
        self.wake_us = NEVER
        for attempt in list(self.attempts.values()):
            if attempt.pid:
                cause = attempt.due_cause(now_us)
                if cause:
                    self.stop(attempt, cause, attempt.order.kill_timeout_us)
            if now_us >= attempt.kill_us:
                attempt.kill_again(now_us)
                found = self._family.of(attempt, self._orphans(), self.attempts)
                self._family.signal(attempt, found, signal.SIGKILL)
                self._confiner.kill(attempt)
            for notice in attempt.notices(now_us):
                self._say(*notice)
            if not attempt.pid:
                self._settle(attempt, now_us)
            if attempt.order.key in self.attempts:
                self.wake_us = min(self.wake_us, attempt.next_us())

    def _cannot_start(self, order: Order, why: str) -> None:
        attempt = self.attempts.get(order.key)
        if attempt is None:
            self._waiting.ended(order)
            self._record(order.key, unstarted(wire.CAUSE_CANNOT_START, why))
            return
        # It began, and nobody reads what it says.
        attempt.error = why
        self.stop(attempt, wire.CAUSE_SUPERVISOR, 0)

    def _spawn(self, order: Order) -> None:
        """Raises Busy, CannotStart and what nobody foresaw."""
        self._check_descriptors()
        key, begun_us = order.key, boot_us()
        own = "" if order.cwd else self._folders.take()
        try:
            env = self._family.marked(order.env)
            pid, out, err, boxed, why_not = self._confiner.spawn(order, env, own)
        except Exception:
            self._confiner.take_back(own, order)
            self._folders.give_back(own, order.name)
            raise
        stdout = Capture(out, self._output_fd, f"{order.output}.out", self.cap_bytes)
        stderr = Capture(err, self._output_fd, f"{order.output}.err", self.cap_bytes)
        attempt = Attempt(order, pid, stdout, stderr, boot_us())
        attempt.cwd, attempt.boxed = own, boxed
        self.attempts[key] = self._by_pid[pid] = attempt
        self.reaper.began(attempt)
        self._journal.spawned(key, pid, begun_us, attempt.spawned_us)
        for fd in (out, err):
            self._pipes[fd] = attempt
            self._epoll.register(fd, select.EPOLLIN)
        self.wake_us = min(self.wake_us, attempt.next_us())
        self._say("started", key, pid, attempt.started_us)
        if why_not:
            attempt.error = why_not
            self.stop(attempt, wire.CAUSE_CANNOT_START, 0)

    def _check_descriptors(self) -> None:
        """A command that starts finds descriptors for what it will say, however late. Raises Busy."""
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        running = len(self.attempts)
        needed = (running + 1) * _DESCRIPTORS + _RESERVED_DESCRIPTORS
        if running and limit != resource.RLIM_INFINITY and needed > limit:
            raise Busy(f"Too many open files: {running} commands run, with a limit of {limit} descriptors")

    def _orphans(self) -> list[int]:
        helpers = self.reaper.helpers
        return self._family.orphans({*self._by_pid, *helpers} if helpers else self._by_pid)

    def _drain(self, attempt: Attempt) -> None:
        """Take what waits in its pipes."""
        for capture in (attempt.stdout, attempt.stderr):
            fd = capture.fd
            capture.drain()
            if not capture.open:
                self._pipes.pop(fd, None)

    def _settle(self, attempt: Attempt, now_us: int, orphans: list[int] | None = None) -> None:
        """Its own process has ended: end what is left of it, then record the result."""
        if orphans is None:
            orphans = self._orphans()
        self._drain(attempt)
        left, unsure = self._family.left(attempt, orphans, self.attempts, now_us)
        if left or unsure:
            self._ending[attempt.order.key] = attempt
            self.wake_us = min(self.wake_us, now_us + _FAMILY_US)
            if left and attempt.begin_stop(wire.CAUSE_NONE, attempt.order.kill_timeout_us, now_us):
                self._family.signal(attempt, left, signal.SIGTERM)
        elif attempt.wait_for_pipes(now_us):
            self._ending[attempt.order.key] = attempt
            self.wake_us = min(self.wake_us, attempt.next_us())
        else:
            self._finish(attempt)

    def _finish(self, attempt: Attempt) -> None:
        order = attempt.order
        key = order.key
        for capture in (attempt.stdout, attempt.stderr):
            self._pipes.pop(capture.fd, None)
        self.reaper.leave(attempt)
        self._confiner.finish(attempt)
        result = attempt.result()
        del self.attempts[key]
        self._ending.pop(key, None)
        self._waiting.ended(order)
        self._family.ended(key)
        self._folders.give_back(attempt.cwd, order.name)
        if attempt.forgotten:
            self._journal.forget([key])
        else:
            self._record(key, result)

    def _record(self, key: str, result: tuple[object, ...]) -> None:
        self._journal.ended(key, result)
        self._journal.relieve()
        self._say("ended", key, result)


def _output_fd(place: Place) -> int:
    return os.open(f"{place.data}/output", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
