"""Group commit: whatever waits goes to the disk as one frame with one fsync, away from the event loop."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from node.consensus.port import Committed
from node.consensus.raftos.journal import BLANK, Base, DiskFull, Journal, JournalUnusable, Recovered, encode_entries
from node.consensus.raftos.settings import RaftSettings
from node.env import Offload


@dataclass(slots=True)
class _Item:
    records: bytes = b""
    last_index: int = 0
    epoch: int = 0
    then: Callable[[], None] | None = None


class Writer:
    """Owns the journal and says how far the disk has come.

    `durable_index` counts only what the log still holds: entries that were replaced do not count before their
    replacements are down.
    """

    def __init__(
        self,
        journal: Journal,
        offload: Offload,
        settings: RaftSettings,
        durable: Callable[[], None],
        fatal: Callable[[Exception], None],
    ) -> None:
        self._journal = journal
        self._offload = offload
        self._settings = settings
        self._durable = durable
        self._fatal = fatal
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[_Item] = deque()
        self._hard = (0, "")
        self._epoch = 0
        self._truncate_to = 0
        self._wake: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None
        self._begun_at: float | None = None
        self.durable_index = 0
        self.full = False
        """The disk has no room: nothing goes down until it has again."""

    async def start(self, snapshot: Base) -> Recovered:
        """Read the journal, which may begin behind the newest snapshot, and begin to write.

        Raises JournalDamaged, DiskFull, OSError.
        """
        recovered = await self._offload(lambda: self._journal.recover(snapshot))
        self._hard = (recovered.term, recovered.vote)
        self.durable_index = recovered.last_index
        self._task = self._loop.create_task(self._run(), name="journal")
        return recovered

    async def stop(self) -> None:
        """What still waits is not written.

        Raises JournalUnusable when a write does not end: what it does later may be in nobody's way but a new
        process's.
        """
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.wait([self._task])
        self._task = None
        try:
            async with asyncio.timeout(self._settings.stop_s):
                await self._offload(self._journal.close)
        except TimeoutError:
            raise JournalUnusable(OSError("a write does not end")) from None

    @property
    def stalled_s(self) -> float:
        """For how long what is being done to the journal has been under way."""
        return 0.0 if self._begun_at is None else self._loop.time() - self._begun_at

    def put_hard_state(self, term: int, vote: str, then: Callable[[], None] | None = None) -> None:
        """`then` is called when it is on the disk."""
        self._hard = (term, vote)
        self._put(_Item(then=then))

    def put_entries(self, entries: Sequence[Committed]) -> None:
        """Consecutive entries; they override what was put before at their place, after replace_from()."""
        self._put(_Item(encode_entries(entries), entries[-1].index, self._epoch))

    def replace_from(self, index: int) -> None:
        """The log forgot `index` and what follows: what is on its way to the disk from there no longer counts."""
        self._epoch += 1
        self.durable_index = min(self.durable_index, index - 1)

    def truncate(self, upto: int) -> None:
        """Let the journal drop what a snapshot holds up to `upto`, one segment between two writes."""
        self._truncate_to = upto
        self._wake_up()

    def _put(self, item: _Item) -> None:
        self._waiting.append(item)
        self._wake_up()

    def _wake_up(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    async def _run(self) -> None:
        try:
            while True:
                while not self._waiting and not self._truncate_to:
                    self._wake = self._loop.create_future()
                    await self._wake
                if self._waiting:
                    await self._write(self._take())
                if self._truncate_to:
                    await self._truncate()
        except OSError as error:
            self._fatal(JournalUnusable(error))
        except Exception as error:
            self._fatal(error)

    async def _truncate(self) -> None:
        upto, more = self._truncate_to, False
        self._begun_at = self._loop.time()
        # Without room even for the note of what goes, everything stays until the next snapshot.
        with suppress(DiskFull):
            more = await self._offload(lambda: self._journal.truncate(upto))
        self._begun_at = None
        if not more and self._truncate_to == upto:
            self._truncate_to = 0

    def _take(self) -> list[_Item]:
        items, size = [self._waiting.popleft()], 0
        while self._waiting and size < self._settings.max_write_bytes:
            items.append(self._waiting.popleft())
            size += len(items[-1].records)
        return items

    async def _write(self, items: list[_Item]) -> None:
        records = items[0].records if len(items) == 1 else b"".join(item.records for item in items)
        highest = max([item.last_index for item in items])
        term, vote = self._hard
        self._begun_at = self._loop.time()
        while True:
            try:
                await self._offload(lambda: self._journal.commit(records, term, vote, highest))
                break
            except DiskFull:
                self.full = True
                await asyncio.sleep(self._settings.disk_full_retry_s)
        self.full = False
        self._begun_at = None
        for item in items:
            if item.epoch == self._epoch:
                self.durable_index = max(self.durable_index, item.last_index)
            if item.then is not None:
                item.then()
        self._durable()


class HardState:
    """raftos' storage: the term, and who got this voter's vote in it. In force at once, promised when durable."""

    def __init__(self, writer: Writer, term: int, vote: str, *, alone: bool) -> None:
        """`vote` as the journal has it. Who is `alone` has nobody to ask, and begins as new."""
        self._writer = writer
        self.term = term
        self.voted_for = vote if vote not in ("", BLANK) else None
        self.blank = vote == BLANK and not alone
        """Whether promises may have been lost with a disk, so that no vote is given; see RaftState.may_elect."""

    def update(self, values: Mapping[str, int | str | None], then: Callable[[], None] | None = None) -> None:
        """Set `term`, `voted_for` or both; `then` is called once they are on the disk. A vote ends being blank."""
        term, vote = values.get("term", self.term), values.get("voted_for", self.voted_for)
        assert isinstance(term, int)
        assert vote is None or isinstance(vote, str)
        self.term, self.voted_for = term, vote
        self.blank = self.blank and vote is None
        self._writer.put_hard_state(term, BLANK if self.blank else vote or "", then)

    def make_whole(self) -> None:
        """This voter has again all that it may have promised."""
        self.blank = False
        self.update({})
