"""What a handler is, what it is given, and how it asks for another end than success or failure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar

F = TypeVar("F", bound=Callable[..., Any])
MARK = "__cortex_handler__"
NAME_LIMIT_CHARS = 100


def handler(name: str) -> Callable[[F], F]:
    """Make a function the handler `name`: `def resize(context, **data)`, or `async def`.

    Its data are the keys of the task's `data`; what it returns, as JSON, is the task's document. It is found in the
    modules that `[executor.python]` names.
    """

    def mark(function: F) -> F:
        setattr(function, MARK, name)
        return function

    return mark


class Cancelled(BaseException):
    """The task is to end. Raised within the handler, once: clean up and let it pass.

    Raised by the handler itself it asks that the task be cancelled, for the reason that it says.
    """


class RetryAt(Exception):
    """What the handler needs will be there after so many seconds: the task is put off, which costs no attempt."""

    def __init__(self, seconds: float, reason: str = "") -> None:
        super().__init__(reason or f"it asked to be retried after {seconds:g} s")
        self.seconds = seconds


class Reschedule(Exception):
    """Not here or not now: the task goes back to the queue after a while, which costs no attempt."""

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason or "it asked to be placed anew")


class ValidationError(ValueError):
    """The data cannot be right anywhere: the task is not tried again."""


class _Channel(Protocol):
    def progress(self, current: int, total: int, message: str) -> None: ...

    def output(self, text: str) -> None: ...


class Context:
    """What a handler knows of its task beside the data, and whom it tells how far it is."""

    def __init__(self, task: str, run: int, attempt: int, env: Mapping[str, str], channel: _Channel) -> None:
        self.task = task
        self.run = run
        """Counts from 1."""
        self.attempt = attempt
        """Counts from 0."""
        self.env = env
        """Variables of the task; os.environ has them, too, while it runs."""
        self.cancelled = False
        """Set before Cancelled is raised."""
        self._channel = channel

    def progress(self, current: int, total: int = 0, message: str = "") -> None:
        """How far the task is; shown live, the last one counts. Cheap: what comes too fast is left out."""
        self._channel.progress(int(current), int(total), str(message))

    def log(self, text: str) -> None:
        """A line of the task's stderr, at once. What is printed goes to its stdout."""
        self._channel.output(text)
