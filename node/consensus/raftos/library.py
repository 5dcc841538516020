"""The one door to the raftos package, which is installed apart: its pins do not build on today's Python."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

INSTALL = "pip install --no-deps raftos==0.2.6"


class RaftosMissing(ImportError):
    """raftos cannot be imported; the message carries the command that brings it."""


if TYPE_CHECKING:
    import asyncio

    Interval = float | Callable[[], float]

    class Timer:
        interval: Interval
        callback: Callable[[], None]
        loop: asyncio.AbstractEventLoop
        is_active: bool
        handler: asyncio.TimerHandle

        def __init__(self, interval: Interval, callback: Callable[[], None]) -> None: ...
        def start(self) -> None: ...
        def stop(self) -> None: ...
        def reset(self) -> None: ...
        def get_interval(self) -> float: ...

    class BaseState:
        state: Any
        id: str
        loop: asyncio.AbstractEventLoop

        def __init__(self, state: Any) -> None: ...
        def start(self) -> None: ...
        def stop(self) -> None: ...

    class Follower(BaseState):
        election_timer: Timer

    class Candidate(BaseState):
        election_timer: Timer
        vote_count: int

    class Leader(BaseState):
        heartbeat_timer: Timer
        step_down_timer: Timer
        request_id: int

    class State:
        server: Any
        id: str
        state: Any

        def start(self) -> None: ...
        def stop(self) -> None: ...
        def to_follower(self) -> None: ...
        def to_candidate(self) -> None: ...
        def to_leader(self) -> None: ...
        def request_handler(self, data: dict[str, Any]) -> None: ...

else:
    # raftos warns when `cryptography` is missing; its ciphers are never used here, the link is what is secured.
    logging.getLogger("raftos").setLevel(logging.ERROR)
    try:
        from raftos.state import BaseState as BaseState
        from raftos.state import Candidate, Follower, Leader, State
        from raftos.timer import Timer
    except ImportError as error:
        message = f"the embedded consensus engine needs raftos ({error}); run: {INSTALL}"
        raise RaftosMissing(message, name="raftos") from error

__all__ = ["INSTALL", "BaseState", "Candidate", "Follower", "Leader", "RaftosMissing", "State", "Timer"]
