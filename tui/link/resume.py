"""How a stream goes on after its link was lost: from where, and how long it is waited for."""

from __future__ import annotations

import asyncio
import time

from cortex.v1 import cluster_pb2
from tui.errors import ClusterError

FIRST_DELAY_S = 0.05
MAX_DELAY_S = 0.5
FIRST_PATIENCE_S = 3.0
MAX_PATIENCE_S = 60.0


class Position:
    """Up to which log index a watcher has seen everything; 0 while it has no complete snapshot."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.recovery_epoch = 0
        self._snapshot = index == 0

    def advance(self, reply: cluster_pb2.WatchReply) -> None:
        self.recovery_epoch = max(self.recovery_epoch, reply.recovery_epoch)
        if reply.snapshot_begin:
            self.forget()
        if reply.snapshot_end:
            self._snapshot = False
        if not self._snapshot:
            self.index = max(self.index, reply.index)

    def forget(self) -> None:
        self.index = 0
        self._snapshot = True


class Patience:
    """How long one stream is waited for, and how long a stream's consumer waits over all attempts."""

    def __init__(self, limit_s: float | None) -> None:
        self._limit_s = limit_s
        self._failing_since: float | None = None
        self._failures = 0
        self._delay_s = FIRST_DELAY_S
        self.silence_s = FIRST_PATIENCE_S

    def answered(self) -> None:
        self._failing_since = None
        self._failures = 0
        self._delay_s = FIRST_DELAY_S
        self.silence_s = FIRST_PATIENCE_S

    async def wait(self, error: ClusterError, targets: int) -> None:
        """Pauses once all targets have failed in turn; raises `error` when the limit is over."""
        now = time.monotonic()
        if self._failing_since is None:
            self._failing_since = now
        if self._limit_s is not None and now - self._failing_since >= self._limit_s:
            raise error
        self._failures += 1
        # A thin line may need longer for one message than a dead one deserves.
        self.silence_s = min(self.silence_s * 2, MAX_PATIENCE_S)
        if self._failures % targets == 0:
            await asyncio.sleep(self._delay_s)
            self._delay_s = min(self._delay_s * 2, MAX_DELAY_S)


def resume_after(request: cluster_pb2.OutputRequest, reply: cluster_pb2.OutputReply) -> None:
    """Moves the request behind the bytes of `reply`, within the same attempt."""
    if reply.fence:
        request.fence = reply.fence
    end = reply.offset + len(reply.data)
    both = request.stream == cluster_pb2.STREAM_KIND_UNSPECIFIED
    if both and reply.stream == cluster_pb2.STREAM_KIND_STDERR:
        request.stderr_offset = max(request.stderr_offset, end)
    else:
        request.offset = max(request.offset, end)
