"""What outlives the processes of an attempt, such as a container: no end is reported while it is there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Coroutine, Iterable, Iterator, Mapping
from functools import partial

import structlog

from node.env import Env
from node.worker import results
from node.worker.attempts import Attempt, Attempts, State
from node.worker.executors.port import Outliving, ProcessExecutor, Untraceable
from node.worker.outbox import Outbox
from node.worker.port import AttemptKey, Unkillable

_FIRST_DELAY_S = 1.0
_LONGEST_DELAY_S = 30.0
_UNKILLABLE_S = 60.0
_UNTRACEABLE_S = 3600.0
_DROP_GRACE_S = 5.0


class Leftovers:
    """Asks the executors that can leave something to remove it, each on a thread of its own.

    Costs nothing where no executor does.
    """

    def __init__(
        self,
        env: Env,
        executors: Mapping[int, ProcessExecutor],
        attempts: Attempts,
        order_of: Callable[[AttemptKey], bytes],
        outbox: Outbox,
        on_failure: Callable[[BaseException], None],
    ) -> None:
        self._executors = {kind: each for kind, each in executors.items() if isinstance(each, Outliving)}
        self._offloads = {kind: env.make_offload(f"leftovers-{kind}") for kind in self._executors}
        self._attempts = attempts
        self._order_of = order_of
        self._outbox = outbox
        self._on_failure = on_failure
        self._log = structlog.get_logger()
        self._removed: set[AttemptKey] = set()
        self._tasks: dict[AttemptKey | int, asyncio.Task[None]] = {}

    def adopt(self) -> None:
        """After a start: what belongs to no attempt that lives is removed."""
        for kind, executor in self._executors.items():
            if kind not in self._tasks:
                held = Held(self._attempts, kind)
                self._begin(kind, self._until_done(kind, partial(executor.adopt, held), "of earlier attempts"))

    def holds_up(self, attempt: Attempt, in_order: Callable[[], bool], then: Callable[[], None]) -> bool:
        """Whether the end of `attempt` has to wait: `then` is called when nothing is left of it.

        `in_order` says whether it is known already that nothing is left.
        """
        key = attempt.key
        if attempt.kind not in self._executors or key in self._removed or in_order():
            self._removed.discard(key)
            return False
        if key not in self._tasks:
            self._begin(key, self._remove(attempt, then))
        return True

    def dropped(self, attempts: Iterable[Attempt]) -> None:
        """Nobody waits for the ends of these any more; the supervisor is just ending them."""
        for attempt in attempts:
            if attempt.kind not in self._executors:
                continue
            self._removed.discard(attempt.key)
            if attempt.state == State.RUNNING and attempt.key not in self._tasks:
                # Its order goes with it.
                self._begin(attempt.key, self._remove_later(attempt, self._order_of(attempt.key)))

    async def stop(self) -> None:
        """What is not done is done after the next start."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _begin(self, name: AttemptKey | int, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks[name] = task
        task.add_done_callback(partial(self._ended, name))

    def _ended(self, name: AttemptKey | int, task: asyncio.Task[None]) -> None:
        self._tasks.pop(name, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._on_failure(error)

    async def _remove(self, attempt: Attempt, then: Callable[[], None]) -> None:
        key = attempt.key
        work = partial(self._executors[attempt.kind].remove, key, self._order_of(key))
        await self._until_done(attempt.kind, work, f"of task {key.task}", key)
        if self._attempts.get(key) is attempt and attempt.state != State.REPORTED:
            self._removed.add(key)
            then()

    async def _remove_later(self, attempt: Attempt, order: bytes) -> None:
        await asyncio.sleep(attempt.kill_timeout_us / 1_000_000 + _DROP_GRACE_S)
        kind, key = attempt.kind, attempt.key
        await self._until_done(kind, partial(self._executors[kind].remove, key, order), f"of task {key.task}")

    async def _until_done(
        self, kind: int, work: Callable[[], None], what: str, key: AttemptKey | None = None
    ) -> None:
        """Again and again until it succeeds, or nothing has told for an hour where it is; what stays for a minute
        is told as a command that outlives KILL.
        """
        delay_s, waited_s, told = _FIRST_DELAY_S, 0.0, key is None
        while True:
            try:
                await self._offloads[kind](work)
            except Exception as error:
                self._log.warning("something is left", what=what, error=str(error) or repr(error))
                if isinstance(error, Untraceable) and waited_s >= _UNTRACEABLE_S:
                    self._log.warning("what is left counts as removed", what=what, after_s=waited_s)
                    return
                if key is not None and not told and waited_s >= _UNKILLABLE_S:
                    told = True
                    stuck = Unkillable(key, f"What it left is not removed: {error}"[:200])
                    self._outbox.add(results.notice(stuck))
            else:
                return
            await asyncio.sleep(delay_s)
            waited_s += delay_s
            delay_s = min(2 * delay_s, _LONGEST_DELAY_S)


class Held(Collection[AttemptKey]):
    """The attempts of one type that live, at the moment of each question: what begins after it was made is in it.

    May be asked from another thread.
    """

    def __init__(self, attempts: Attempts, kind: int) -> None:
        self._attempts = attempts
        self._kind = kind

    def __contains__(self, key: object) -> bool:
        attempt = self._attempts.get(key) if isinstance(key, AttemptKey) else None
        return attempt is not None and self._lives(attempt)

    def __iter__(self) -> Iterator[AttemptKey]:
        return (attempt.key for attempt in self._attempts if self._lives(attempt))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _lives(self, attempt: Attempt) -> bool:
        return attempt.kind == self._kind and attempt.state != State.REPORTED
