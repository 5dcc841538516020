"""When the cluster is asked anew for the causes of dead letters: after letters changed, but not all the time."""

from __future__ import annotations

from collections.abc import Callable

from cortex.v1 import cluster_pb2
from tui.columns.tasks import what_failed
from tui.source import Source, SourceError
from tui.store.view import ClusterView

LIMIT = 1000
SHOWN_EVERY_S = 1.0
UNSEEN_EVERY_S = 10.0
ANYWAY_EVERY_S = 30.0
"""Letters that are trimmed are not told of."""
MAX_SAMPLES = 50
"""Read at a time, to say what the letters of a cause said."""
SHARE = 10.0
"""An answer that took long is not asked for again before ten times as long."""


class CausesFeed:
    """Asks the source, and puts what it says into the view."""

    def __init__(self) -> None:
        self._asked_s: float | None = None
        self._took_s = 0.0
        self._busy = False

    def due(self, view: ClusterView, now_s: float, *, shown: bool) -> bool:
        """Whether ask() should be called now; `shown`: an operator is looking at them."""
        if self._busy or not view.ready:
            return False
        if self._asked_s is None:
            return True
        waited_s = now_s - self._asked_s
        changed = view.letters.changed_index > view.letters.index
        every_s = max(SHOWN_EVERY_S if shown else UNSEEN_EVERY_S, self._took_s * SHARE)
        return waited_s >= (every_s if changed else max(ANYWAY_EVERY_S, every_s))

    async def ask(self, source: Source, view: ClusterView, clock: Callable[[], float]) -> None:
        """A failure is told by the link; it is tried again later."""
        self._busy, self._asked_s = True, clock()
        try:
            reply = await source.list_causes(LIMIT)
            view.letters.put(reply)
            await _read_words(source, view, reply)
        except SourceError:
            return
        finally:
            self._busy, self._took_s = False, clock() - self._asked_s


async def _read_words(source: Source, view: ClusterView, reply: cluster_pb2.ListCausesReply) -> None:
    """Once for each cause."""
    words = view.letters.words
    fresh = [row for row in reply.causes if row.fingerprint and row.fingerprint not in words]
    for row in fresh[:MAX_SAMPLES]:
        sample = (await source.get_task(row.sample.id)).task
        words[row.fingerprint] = what_failed(sample)
    if len(words) > LIMIT:
        for fingerprint in set(words) - {row.fingerprint for row in reply.causes}:
            del words[fingerprint]
