"""Commands within their limits: spawned into a control group, bounded, and what is left of that removed."""

from __future__ import annotations

import os
import resource

from node.supervisor.attempt import Attempt, Order
from node.supervisor.cgroups import Box, Cgroups
from node.supervisor.spawn import BACK_PRESSURE, Busy, Spawner, Wrapping, out_of_the_way

_RLIMITS = {"nofile": resource.RLIMIT_NOFILE, "nproc": resource.RLIMIT_NPROC, "fsize": resource.RLIMIT_FSIZE}
_BOUNDS = ("memory_bytes", "pids", "cpu_millis")


class Confiner:
    """`identity` tells this supervisor's groups from those of others."""

    __slots__ = ("_cgroups", "_identity", "_spawner")

    def __init__(self, spawner: Spawner, identity: str) -> None:
        self._spawner = spawner
        self._identity = identity
        self._cgroups: Cgroups | None = None

    def spawn(self, order: Order, env: dict[bytes, bytes], own: str) -> tuple[int, int, int, bool, str]:
        """As Spawner.spawn(), in `own` where the order names no directory; whether it has a control group, and why
        it must be ended at once, if it must.

        Raises Busy, CannotStart or OSError.
        """
        if not order.limits:
            return (*self._spawner.spawn(order.argv, env, order.cwd or own), False, "")
        owner = order.limits.get("owner")
        if own and owner:
            os.chown(own, *owner)  # type: ignore[misc]
        box = self._box(order)
        ends: list[int] = []
        try:
            wrapping, ends = self._wrapping(order)
            if box is not None:
                box.enter()
            pid, out, err = self._spawner.spawn(order.argv, env, order.cwd or own, wrapping)
        except Exception as error:
            if box is not None:
                box.leave()
                self._groups.remove(box)
            if isinstance(error, OSError) and error.errno in BACK_PRESSURE:
                raise Busy(f"{os.strerror(error.errno)} at spawn") from None
            raise
        finally:
            for fd in ends:
                os.close(fd)
        if box is not None:
            box.leave()
        why = ""
        try:
            self._bound(order, pid, box)
        except (OSError, ValueError) as error:
            # It may have children by now: it is an attempt that is ended as any other.
            why = f"Its bounds cannot be set: {error}. Correct what is set for shell tasks."
        return pid, out, err, box is not None, why

    def take_back(self, own: str, order: Order) -> None:
        """The folder of its own is the supervisor's again."""
        if own and order.limits.get("owner"):
            try:
                os.chown(own, os.geteuid(), os.getegid())
            except OSError:
                pass  # somebody removed it, or the disk is read-only by now: it is not used again

    def kill(self, attempt: Attempt) -> None:
        """KILL all that is in its control group."""
        if attempt.boxed and (box := self._groups.find(attempt.order.name)) is not None:
            box.kill()

    def finish(self, attempt: Attempt) -> None:
        """Its family is gone: note what its group counted, and remove that."""
        self.take_back(attempt.cwd, attempt.order)
        if not attempt.boxed or (box := self._groups.find(attempt.order.name)) is None:
            return
        attempt.out_of_memory = box.out_of_memory()
        user_us, system_us, peak_bytes = attempt.usage
        attempt.usage = (user_us, system_us, box.peak_bytes() or peak_bytes)
        self._groups.remove(box)

    def close(self) -> None:
        """Nothing runs any more."""
        if self._cgroups is not None:
            self._cgroups.close()

    @property
    def _groups(self) -> Cgroups:
        """Made when they are needed first."""
        if self._cgroups is None:
            self._cgroups = Cgroups(self._identity)
            self._cgroups.clear()
            self._cgroups.try_out()
        return self._cgroups

    def _box(self, order: Order) -> Box | None:
        if not any(order.limits.get(name) for name in _BOUNDS):
            return None
        try:
            return self._groups.make(order.name, cpu=bool(order.limits.get("cpu_millis")))
        except OSError as error:
            raise Busy(f"no control group can be made: {error.strerror}") from None

    def _wrapping(self, order: Order) -> tuple[Wrapping, list[int]]:
        """And the descriptors that it holds open for the spawn."""
        limits, reading = order.limits, -1
        program = limits.get("seccomp")
        if program:
            reading, writing = os.pipe2(os.O_CLOEXEC)
            try:
                os.write(writing, program)  # type: ignore[arg-type]
                reading = out_of_the_way(reading)
            finally:
                os.close(writing)
        wrapping = Wrapping(
            limits.get("wrap", []),  # type: ignore[arg-type]
            limits.get("folder", ""),  # type: ignore[arg-type]
            hands_folder=bool(limits.get("folder_fd")),
            filter_fd=reading,
        )
        return wrapping, [reading] if reading >= 0 else []

    def _bound(self, order: Order, pid: int, box: Box | None) -> None:
        limits = order.limits
        if box is not None:
            box.bound(*(int(limits.get(name, 0)) for name in _BOUNDS))  # type: ignore[call-overload]
        for name, value in limits.get("rlimits", {}).items():  # type: ignore[attr-defined]
            try:
                resource.prlimit(pid, _RLIMITS[name], (value, value))
            except ProcessLookupError:
                return  # it has ended
