"""An event loop on virtual time, where time jumps to the next timer; and lives, which can end as by kill -9."""

from __future__ import annotations

import asyncio
import contextvars
import gc
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from heapq import heappop, heappush
from typing import Any, NoReturn, TypeVar

T = TypeVar("T")
_LIFE: contextvars.ContextVar[Life] = contextvars.ContextVar("life")


class Deadlock(Exception):
    """Every task waits and no timer is set: nothing will ever happen again."""


class OutOfTime(Exception):
    """The simulation reached its limit of virtual time or of turns."""


class Life:
    """One life of a simulated process: whatever is started within it stops for good at end(), without any clean-up.

    Tasks, timers and callbacks belong to the life in whose context they were made.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.alive = True
        self.paused = False
        self._held: list[asyncio.Handle] = []
        self.context = contextvars.Context()
        self.context.run(_LIFE.set, self)

    def spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run `work` as part of this life. Awaiting the task after end() waits for ever: use a time-out."""
        return asyncio.get_running_loop().create_task(work, context=self.context.copy())

    def call(self, function: Callable[..., T], *args: Any) -> T:
        """Call `function` as part of this life, now."""
        return self.context.copy().run(function, *args)

    def end(self) -> None:
        self.alive = False

    def pause(self) -> None:
        """As by SIGSTOP: time passes, nothing happens here until resume()."""
        self.paused = True

    def resume(self) -> None:
        """Everything that became due meanwhile, and was not cancelled, happens now, in its order."""
        self.paused = False
        held, self._held = self._held, []
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimLoop)
        loop.run_again(held)

    def hold(self, handle: asyncio.Handle) -> None:
        """Run it after resume()."""
        self._held.append(handle)


class Killed(BaseException):
    """Ends whatever was running when its life ended in the middle of it."""


class _Handle(asyncio.TimerHandle):
    """What happens at `when`. Made for every event, so without what only loops for debugging ask for."""

    __slots__ = ()

    def __init__(
        self,
        when: float,
        callback: Callable[..., Any],
        args: tuple[Any, ...],
        loop: SimLoop,
        context: contextvars.Context,
    ) -> None:
        self._when = when
        self._callback = callback
        self._args = args
        self._loop = loop
        self._context = context
        self._cancelled = self._scheduled = False
        self._repr = self._source_traceback = None

    def cancel(self) -> None:
        self._cancelled = True
        self._callback = self._args = None  # type: ignore[assignment]


class SimLoop(asyncio.BaseEventLoop):
    """Deterministic as long as what runs on it is: no threads, no sockets, no set or hash order.

    Exceptions that no task waits for are collected in `errors` instead of being logged.
    """

    def __init__(self, limit_s: float = 1e6, limit_turns: int = 500_000_000) -> None:
        super().__init__()
        self._now = 0.0
        self._limit_s = limit_s
        self._turns_left = limit_turns
        self._ready: deque[asyncio.Handle] = deque()
        self._stopping = False
        self._due: list[tuple[float, int, _Handle]] = []
        self._timers = 0
        self._over = False
        self._tasks: list[asyncio.Task[Any]] = []
        self._prune_at = 1000
        self.neutral = contextvars.Context()
        """A context of no life, for what must outlast whoever asked for it."""
        self.errors: list[BaseException] = []
        self.set_exception_handler(self._note)

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._now

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., Any], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        handle = _Handle(
            self._now, callback, args, self, contextvars.copy_context() if context is None else context
        )
        self._ready.append(handle)
        return handle

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., Any], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., Any], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        handle = _Handle(when, callback, args, self, contextvars.copy_context() if context is None else context)
        self._timers += 1
        heappush(self._due, (when, self._timers, handle))
        return handle

    def create_task(  # type: ignore[override]
        self, work: Coroutine[Any, Any, T], *, name: str | None = None, context: contextvars.Context | None = None
    ) -> asyncio.Task[T]:
        # A dead life's tasks are never resumed. They are kept, for collecting them would run their clean-up.
        task = asyncio.Task(work, loop=self, name=name, context=context)
        self._tasks.append(task)
        if len(self._tasks) > self._prune_at:
            self._tasks = [task for task in self._tasks if not task.done()]
            self._prune_at = 2 * len(self._tasks) + 1000
        return task

    def run_again(self, handles: list[asyncio.Handle]) -> None:
        """Those that are not cancelled by then."""
        self._ready.extend(handles)

    def _run_once(self) -> None:
        """Called by the base class until it is to stop. A turn is everything that is ready, or the next timer."""
        ready, due = self._ready, self._due
        while not self._stopping:
            self._turns_left -= 1
            while due and due[0][2]._cancelled:
                heappop(due)
            if not ready:
                if not due:
                    raise Deadlock(f"deadlock at {self._now:.6f} s: no timer is set and nothing is ready")
                self._now = max(self._now, due[0][0])
            if self._now > self._limit_s or self._turns_left < 0:
                raise OutOfTime(f"stopped at {self._now:.3f} s of virtual time")
            while due and due[0][0] <= self._now:
                ready.append(heappop(due)[2])
            for _ in range(len(ready)):
                handle = ready.popleft()
                if not handle._cancelled:
                    self._happen(handle)

    def _happen(self, handle: asyncio.Handle) -> None:
        context = handle._context
        life = context.get(_LIFE)
        if life is None or self._over or (life.alive and not life.paused):
            try:
                context.run(handle._callback, *handle._args)
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as error:
                self.call_exception_handler({"message": repr(handle), "exception": error})
        elif life.alive:
            life.hold(handle)

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> NoReturn:  # type: ignore[override]
        raise RuntimeError("threads would break determinism: use Env.make_offload")

    def wind_up(self) -> None:
        """Cancel whatever is left, dead lives' tasks too, and close."""
        self._over = True
        self._limit_s = float("inf")
        self.set_exception_handler(lambda _loop, _context: None)
        for _ in range(100):
            left = [task for task in self._tasks if not task.done()]
            if not left:
                break
            for task in left:
                task.cancel()
            self.run_until_complete(asyncio.sleep(0))
        for task in self._tasks:
            # Nothing can wake the tasks of dead lives any more.
            if not task.done() and (work := task.get_coro()) is not None:
                with suppress(Exception):
                    work.close()
        self.close()

    def _note(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, Killed):
            return
        self.errors.append(error if error is not None else RuntimeError(str(context["message"])))

    def _write_to_self(self) -> None:
        pass


@contextmanager
def _no_collection() -> Iterator[None]:
    """Cycles are collected after a run, not at moments in it."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def run(main: Callable[[], Coroutine[Any, Any, T]], limit_s: float = 1e6) -> T:
    """Run `main()` on a fresh SimLoop and return its result.

    Raises what it raises, Deadlock, OutOfTime, or the first exception that nobody waited for.
    """
    loop = SimLoop(limit_s)
    asyncio.set_event_loop(loop)
    with _no_collection():
        try:
            result = loop.run_until_complete(main())
        finally:
            errors = list(loop.errors)
            loop.wind_up()
            asyncio.set_event_loop(None)
    if errors:
        raise errors[0]
    return result
