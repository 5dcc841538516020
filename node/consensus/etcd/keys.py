"""The keys of one cluster under its prefix, and what stands in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cortex.v1 import raft_pb2
from node.consensus.port import Committed


@dataclass(frozen=True, slots=True)
class Keys:
    """From `leader` to `log/…` they are neighbours: one watch tells of them in the order of revisions."""

    prefix: bytes

    @property
    def cluster(self) -> bytes:
        """Id of the cluster that lives here."""
        return self.prefix + b"cluster"

    @property
    def head(self) -> bytes:
        """Index and term of the last entry. Every append is conditional on it."""
        return self.prefix + b"head"

    @property
    def membership(self) -> bytes:
        """The membership in force, encoded."""
        return self.prefix + b"membership"

    @property
    def base(self) -> bytes:
        """What terms are counted from: the last term of the log that was imported."""
        return self.prefix + b"base"

    @property
    def snapshot(self) -> bytes:
        """Meta of the newest whole snapshot."""
        return self.prefix + b"log.snapshot"

    @property
    def leader(self) -> bytes:
        """Id of the leader, bound to its lease. The revision that created it is the leader's term."""
        return self.prefix + b"leader"

    @property
    def heir(self) -> bytes:
        """Id of whom the last leader handed over to."""
        return self.prefix + b"leader.heir"

    @property
    def log(self) -> tuple[bytes, bytes]:
        """All entries: from the first key up to but not including the second."""
        return self.prefix + b"log/", self.prefix + b"log0"

    @property
    def watched(self) -> tuple[bytes, bytes]:
        return self.leader, self.log[1]

    def batch(self, last_index: int) -> bytes:
        """Entries that were appended together, up to `last_index`."""
        return self.prefix + b"log/%020d" % last_index

    def is_batch(self, key: bytes) -> bool:
        return key.startswith(self.log[0])

    def chunk(self, index: int, number: int) -> bytes:
        """A piece of the snapshot that ends with entry `index`."""
        return self.prefix + b"state/%020d/%08d" % (index, number)

    def chunks(self, index: int) -> tuple[bytes, bytes]:
        return self.chunk(index, 0), self.prefix + b"state/%020d0" % index

    @property
    def all_chunks(self) -> tuple[bytes, bytes]:
        return self.prefix + b"state/", self.prefix + b"state0"

    def older_chunks(self, index: int) -> tuple[bytes, bytes]:
        return self.prefix + b"state/", self.prefix + b"state/%020d/" % index


def encode_head(index: int, term: int) -> bytes:
    return b"%d %d" % (index, term)


def decode_head(value: bytes) -> tuple[int, int]:
    """Index and term. Raises ValueError."""
    index, term = value.split()
    return int(index), int(term)


def encode_batch(entries: Sequence[Committed]) -> bytes:
    batch = raft_pb2.AppendEntries(prev_log_index=entries[0].index - 1)
    for entry in entries:
        batch.entries.add(term=entry.term, data=entry.data, membership=entry.membership)
    return batch.SerializeToString()


def decode_batch(value: bytes) -> list[Committed]:
    """Raises google.protobuf.message.DecodeError."""
    batch = raft_pb2.AppendEntries.FromString(value)
    return [
        Committed(index, entry.term, entry.data, entry.membership)
        for index, entry in enumerate(batch.entries, batch.prev_log_index + 1)
    ]
