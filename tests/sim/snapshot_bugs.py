"""Deliberate bugs in what a daemon does with snapshots of its state, each a patch over the sound daemon."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any
from unittest.mock import patch

from node import startup
from node.feed import Feed
from node.store import store
from node.store.copy import StoreCopy
from node.store.store import Store


def begin_with_the_former_rows() -> AbstractContextManager[Any]:
    """A start does not look whether a snapshot has more than the rows."""
    return patch.object(startup, "newest_index", lambda _disk: 0)


def claim_more_than_was_copied() -> AbstractContextManager[Any]:
    """A copy of the state is taken for one of a few entries later."""
    sound = Store.copy

    def copy(self: Store) -> StoreCopy:
        made = sound(self)
        made.index += 3
        return made

    return patch.object(Store, "copy", copy)


@contextmanager
def copy_half_of_it() -> Iterator[None]:
    """A copy lacks some ended tasks, and nobody counts the digest over its rows before it is used."""
    sound = Store.copy

    def copy(self: Store) -> StoreCopy:
        made = sound(self)
        other = Store.from_image(b"".join(made.chunks()))
        assert other._writer_connection is not None
        with other._writer_connection.transaction("BEGIN IMMEDIATE") as db:
            db.execute("DELETE FROM te_tasks WHERE state = 5 AND workflow_id = '' AND created_index % 2 = 0")
        return StoreCopy(other.image(), made.index, made.term, made.at_us, made.recovery_epoch, made.level)

    with patch.object(Store, "copy", copy), patch.object(store, "check_whole", lambda *_: None):
        yield


def leave_watchers_behind() -> AbstractContextManager[Any]:
    """Whoever watches a voter that begins anew goes on waiting for the one that has ended."""
    return patch.object(Feed, "close", lambda _self: None)


BUGS: Mapping[str, Callable[[], AbstractContextManager[Any]]] = {
    bug.__name__: bug
    for bug in (begin_with_the_former_rows, claim_more_than_was_copied, copy_half_of_it, leave_watchers_behind)
}
