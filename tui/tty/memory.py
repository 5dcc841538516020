"""The process's memory, so that collecting garbage never holds a key up."""

from __future__ import annotations

import gc

_COLLECT = (2000, 100, 100)
"""Often for few objects, which no key notices, and seldom for those that stay: hardly any are in cycles."""


def collect_less() -> None:
    """Rows come by the hundred thousand and hold no cycles: the collector looks through them seldom."""
    gc.freeze()
    gc.set_threshold(*_COLLECT)


def settle() -> None:
    """What is there now came to stay: the collector need never look through it again, which took 0.2 s at a time.

    Rows still go away with their last reference; only cycles among what is there now would stay for good.
    """
    gc.collect(1)
    gc.freeze()
