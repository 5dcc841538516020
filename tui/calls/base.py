"""What all areas of calls share: how one is made. ClusterClient is all areas together."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Any

from cortex.v1 import cluster_pb2

# What looks through all that is kept takes its time.
LONG = 6


class Calls:
    """Base of the areas; ClusterClient gives what is left open here. Every call raises ClusterError."""

    leader: str
    _timeout_s: float

    def _patience_s(self, at: cluster_pb2.Moment | None) -> float:
        """How long a read may take: longer for one that looks through all that is kept."""
        return self._timeout_s if at is None else self._timeout_s * LONG

    def _mutation(self) -> cluster_pb2.Mutation:
        """A new request id, kept over all retries of one call."""
        raise NotImplementedError

    def _freshness(self) -> cluster_pb2.Freshness:
        raise NotImplementedError

    async def _write(self, method: str, request: Any, timeout_s: float | None = None) -> Any:
        """Calls what changes something; its reply's index is what later reads show at least."""
        raise NotImplementedError

    async def _show(self, method: str, request: Any, timeout_s: float) -> Any:
        """Calls what shows one row, which a list may lag behind; what was shown later reads show at least."""
        reply = await self._call(method, request, timeout_s)
        self.saw(reply.index)
        return reply

    def saw(self, index: int) -> None:
        """Later reads show at least the log up to `index`."""
        raise NotImplementedError

    def _replies(self, method: str, request: Any) -> AsyncGenerator[Any, None]:
        """Yields the messages of one stream; another daemon is asked as long as there was none."""
        raise NotImplementedError

    async def _call(
        self, method: str, request: Any, timeout_s: float, *, writes: bool = False, final: Sequence[str] = ()
    ) -> Any:
        raise NotImplementedError
