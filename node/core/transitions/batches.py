"""Batches of several entries: what the first part reserves, so that no later part can be refused.

A batch's first part is checked for all of it: depth and submit keys. Both stay reserved until its last part is in,
or until its next part did not come for BATCH_KEPT_US of entry time; what came until then stays.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from cortex.v1.log_pb2 import BatchKey, BatchPart
from cortex.v1.types_pb2 import Batch
from node.core import checks
from node.core.faults import Code
from node.core.model import Table, reply_key
from node.core.transitions.draft import Draft, Refusal

# Longer than an election, a restart or an outage that a submitter sits out; a key's expiry is longer still.
BATCH_KEPT_US = 3600 * 1_000_000
OPEN_LIMIT = 100
COUNT_LIMIT = 1_000_000

_HASH_BYTES = 8
_RECORD_BYTES = 2 * _HASH_BYTES


def is_given_up(draft: Draft, row: Batch) -> bool:
    return draft.now_us >= row.at_us + BATCH_KEPT_US


def open_batches(draft: Draft) -> list[Batch]:
    """Batches whose next part is awaited."""
    return [row for row in draft.batches() if not is_given_up(draft, row)]


def part_flaw(draft: Draft, part: BatchPart, here: int) -> Refusal | None:
    """Why an entry with `here` submissions is not the part of a batch that may come now."""
    text = "batch id is empty." if not part.id else checks.text_flaw("batch id", part.id)
    if text is not None:
        return Refusal(Code.INVALID, text)
    if part.count > COUNT_LIMIT or part.first + here > part.count or len(part.keys) > part.count:
        return Refusal(Code.INVALID, f"A part of {here} from {part.first} on does not fit a batch of {part.count}.")
    row = draft.batch(reply_key(draft.client, part.id))
    if row is not None and is_given_up(draft, row):
        row = None
    if part.first == 0:
        return _first_flaw(draft, row)
    if row is None:
        message = (
            f"The batch was given up because its next part did not come in time: the first {part.first} of its "
            f"{part.count} tasks were accepted, the others were not."
        )
        return Refusal(Code.WRONG_STATE, message)
    if (row.next, row.count) != (part.first, part.count):
        message = f"The batch goes on with submission {row.next} of {row.count}, not {part.first} of {part.count}."
        return Refusal(Code.INVALID, message)
    return None


def _first_flaw(draft: Draft, row: Batch | None) -> Refusal | None:
    if row is not None:
        return Refusal(Code.ALREADY_EXISTS, "A batch of this id is being submitted.")
    if len(open_batches(draft)) >= OPEN_LIMIT:
        return Refusal(Code.OVERLOADED, f"{OPEN_LIMIT} batches are being submitted already.")
    return None


def advance(draft: Draft, part: BatchPart, here: int, created: int, new: int) -> None:
    """A part of `here` submissions, which became `created` tasks, is in; the first one asked for `new` in all."""
    key = reply_key(draft.client, part.id)
    old = draft.batch(key) if part.first else None
    then = part.first + here
    if then == part.count:
        if old is not None:
            draft.put_row(Table.BATCHES, key, None)
        return
    row = Batch()
    if old is not None:
        row.CopyFrom(old)
    else:
        row.client, row.id, row.count, row.reserved = draft.client, part.id, part.count, new
        row.keys = _packed(part.keys)
    row.next = then
    # A key that was held at first may be free by now, or the other way round.
    row.reserved = min(max(row.reserved - created, 0), part.count - then)
    row.at_us = draft.now_us
    draft.put_row(Table.BATCHES, key, row)


class Reserved:
    """What batches under way reserve together; `tasks` are still to come of them."""

    def __init__(self, draft: Draft) -> None:
        rows = open_batches(draft)
        self.tasks = sum(row.reserved for row in rows)
        # Read once: a message copies its bytes at every access.
        self._keys = [keys for row in rows if (keys := row.keys)]

    def clashes(self, key: str, spec_sha256: bytes) -> bool:
        """Whether a batch is about to submit something else under this key."""
        if not self._keys:
            return False
        wanted = _hash(key)
        found = (_find(keys, wanted) for keys in self._keys)
        return any(spec is not None and spec != spec_sha256[:_HASH_BYTES] for spec in found)


def _packed(keys: Sequence[BatchKey]) -> bytes:
    """The keys as fixed-size records in the order of their hashes, each once."""
    records = {_hash(item.key) + item.spec_sha256[:_HASH_BYTES].ljust(_HASH_BYTES, b"\0") for item in keys}
    return b"".join(sorted(records))


def _hash(key: str) -> bytes:
    return hashlib.blake2b(key.encode(), digest_size=_HASH_BYTES).digest()


def _find(records: bytes, wanted: bytes) -> bytes | None:
    """What is recorded under a hash, by bisection."""
    low, high = 0, len(records) // _RECORD_BYTES
    while low < high:
        middle = (low + high) // 2
        start = middle * _RECORD_BYTES
        found = records[start : start + _HASH_BYTES]
        if found == wanted:
            return records[start + _HASH_BYTES : start + _RECORD_BYTES]
        if found < wanted:
            low = middle + 1
        else:
            high = middle
    return None
