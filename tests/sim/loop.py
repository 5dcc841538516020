"""An event loop on virtual time, where time jumps to the next timer; and lives, which can end as by kill -9."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Coroutine
from contextlib import suppress
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
        self._held: list[tuple[contextvars.Context, Callable[..., Any], tuple[Any, ...]]] = []
        self.context = contextvars.Context()
        self.context.run(_LIFE.set, self)

    def spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run `work` as part of this life. Awaiting the task after end() waits for ever: use a time-out."""
        loop = asyncio.get_running_loop()
        return self.context.copy().run(lambda: loop.create_task(work))

    def call(self, function: Callable[..., T], *args: Any) -> T:
        """Call `function` as part of this life, now."""
        return self.context.copy().run(function, *args)

    def end(self) -> None:
        self.alive = False

    def pause(self) -> None:
        """As by SIGSTOP: time passes, nothing happens here until resume()."""
        self.paused = True

    def resume(self) -> None:
        """Everything that became due meanwhile happens now, in its order."""
        self.paused = False
        held, self._held = self._held, []
        loop = asyncio.get_running_loop()
        for context, callback, args in held:
            loop.call_soon(callback, *args, context=context)

    def hold(self, context: contextvars.Context, callback: Callable[..., Any], *args: Any) -> None:
        """Call it after resume()."""
        self._held.append((context, callback, args))


class Killed(BaseException):
    """Ends whatever was running when its life ended in the middle of it."""


class _Selector:
    """Stands where the loop would wait for sockets."""

    def __init__(self, loop: SimLoop) -> None:
        self._loop = loop

    def select(self, timeout: float | None) -> list[Any]:
        if timeout is None:
            raise Deadlock(f"deadlock at {self._loop.time():.6f} s: no timer is set and nothing is ready")
        self._loop.advance(timeout)
        return []


class SimLoop(asyncio.BaseEventLoop):
    """Deterministic as long as what runs on it is: no threads, no sockets, no set or hash order.

    Exceptions that no task waits for are collected in `errors` instead of being logged.
    """

    def __init__(self, limit_s: float = 1e6, limit_turns: int = 500_000_000) -> None:
        super().__init__()
        self._now = 0.0
        self._limit_s = limit_s
        self._turns_left = limit_turns
        self._selector = _Selector(self)
        self._clock_resolution = 1e-9
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

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass. Called by the loop itself between turns."""
        self._now += seconds
        self._turns_left -= 1
        if self._now > self._limit_s or self._turns_left < 0:
            raise OutOfTime(f"stopped at {self._now:.3f} s of virtual time")

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., Any], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        context = contextvars.copy_context() if context is None else context
        return super().call_soon(self._bound(callback, context), *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., Any], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        context = contextvars.copy_context() if context is None else context
        return super().call_at(when, self._bound(callback, context), *args, context=context)

    def create_task(self, *args: Any, **kwargs: Any) -> asyncio.Task[Any]:
        # A dead life's tasks are never resumed. They are kept, for collecting them would run their clean-up.
        task = super().create_task(*args, **kwargs)
        self._tasks.append(task)
        if len(self._tasks) > self._prune_at:
            self._tasks = [task for task in self._tasks if not task.done()]
            self._prune_at = 2 * len(self._tasks) + 1000
        return task

    def _bound(self, callback: Callable[..., Any], context: contextvars.Context) -> Callable[..., Any]:
        life = context.get(_LIFE)
        if life is None:
            return callback

        def bound(*args: Any) -> None:
            if self._over or (life.alive and not life.paused):
                callback(*args)
            elif life.alive:
                life.hold(context, callback, *args)

        return bound

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

    def _process_events(self, event_list: list[Any]) -> None:
        pass

    def _write_to_self(self) -> None:
        pass


def run(main: Callable[[], Coroutine[Any, Any, T]], limit_s: float = 1e6) -> T:
    """Run `main()` on a fresh SimLoop and return its result.

    Raises what it raises, Deadlock, OutOfTime, or the first exception that nobody waited for.
    """
    loop = SimLoop(limit_s)
    asyncio.set_event_loop(loop)
    try:
        result = loop.run_until_complete(main())
    finally:
        errors = list(loop.errors)
        loop.wind_up()
        asyncio.set_event_loop(None)
    if errors:
        raise errors[0]
    return result
