"""raftos' message vocabulary (dicts with a `type`) on one side, cortex.v1.RaftMessage on the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import structlog

from cortex.v1 import raft_pb2
from node.consensus.membership import is_membership
from node.consensus.port import Committed

MAX_TERM = 1 << 48
"""No cluster holds that many elections; following a message that says so would leave no term to elect in."""
MAX_STATE_BYTES = 1 << 42
_SHA256_BYTES = 32
Data = dict[str, Any]
"""A message as the roles see it: `type`, `term`, `sender` (a voter's id) and the fields of its type."""


class Codec:
    """Translates for one voter. Entries that go to several peers are encoded once."""

    def __init__(self, cluster_id: str, own_id: str, own_address: str = "") -> None:
        self._cluster_id = cluster_id
        self._id = own_id
        self._address = own_address
        self.epoch = 0
        """The recovery epoch of this voter's log."""
        self._told = False
        self._cached: tuple[Sequence[Committed], raft_pb2.AppendEntries] | None = None

    def encode(self, data: Data, to: str) -> raft_pb2.RaftMessage:
        kind = data["type"]
        message = raft_pb2.RaftMessage(
            cluster_id=self._cluster_id,
            to=to,
            term=data["term"],
            from_address=self._address,
            recovery_epoch=self.epoch,
        )
        setattr(message, "from", self._id)
        if kind == "append_entries":
            self._encode_append(data, message.append_entries)
        else:
            _ENCODE[kind](data, message)
        return message

    def admits(self, message: raft_pb2.RaftMessage, *, fresh: bool) -> bool:
        """Whether it is for this voter, of its cluster and recovery; who is `fresh`, without a log, joins any."""
        if message.cluster_id != self._cluster_id or message.to != self._id:
            return False
        if message.recovery_epoch > self.epoch and fresh:
            self.epoch = message.recovery_epoch
        if message.recovery_epoch > self.epoch and not self._told:
            # The index of an entry means another one there: nothing that this voter has may count.
            self._told = True
            structlog.get_logger(node=self._id).error(
                "this log is of before a recovery of the cluster",
                own=self.epoch,
                cluster=message.recovery_epoch,
                remedy="Stop this daemon, put its data folder aside, and let it join again with --join.",
            )
        return message.recovery_epoch == self.epoch

    def _encode_append(self, data: Data, append: raft_pb2.AppendEntries) -> None:
        entries: Sequence[Committed] = data["entries"]
        if entries:
            if self._cached is None or self._cached[0] is not entries:
                body = raft_pb2.AppendEntries()
                add = body.entries.add
                for entry in entries:
                    add(term=entry.term, data=entry.data, membership=entry.membership)
                self._cached = (entries, body)
            append.CopyFrom(self._cached[1])
        append.prev_log_index = data["prev_log_index"]
        append.prev_log_term = data["prev_log_term"]
        append.commit_index = data["commit_index"]
        append.round = data["request_id"]
        append.wall_us = data["wall_us"]
        append.digest_index, append.digest = data.get("agreed", (0, b""))
        append.counts_life, append.counts_from = data.get("counts", (0, 0))
        append.SetInParent()


def decode(message: raft_pb2.RaftMessage) -> Data | None:
    """The message as a dict, or None when its kind is unknown or it contradicts itself."""
    kind = message.WhichOneof("kind")
    convert = _DECODE.get(kind or "")
    if convert is None or kind is None or message.term > MAX_TERM:
        return None
    data: Data = {"type": kind, "term": message.term, "sender": getattr(message, "from")}
    convert(message, data)
    return data if data.pop("sound", True) else None


def _encode_request_vote(data: Data, message: raft_pb2.RaftMessage) -> None:
    message.request_vote.SetInParent()
    request = message.request_vote
    request.last_log_index, request.last_log_term = data["last_log_index"], data["last_log_term"]
    request.pre_vote, request.transfer = data["pre_vote"], data["transfer"]
    request.begins = data.get("begins", False)


def _encode_request_vote_response(data: Data, message: raft_pb2.RaftMessage) -> None:
    message.request_vote_response.SetInParent()
    response = message.request_vote_response
    response.vote_granted, response.pre_vote = data["vote_granted"], data["pre_vote"]
    response.empty, response.blank = data.get("empty", False), data.get("blank", False)
    response.removed_at = data.get("removed_at", 0)


def _encode_append_entries_response(data: Data, message: raft_pb2.RaftMessage) -> None:
    message.append_entries_response.SetInParent()
    response = message.append_entries_response
    response.success = data["success"]
    response.round = data["request_id"]
    response.blank_life = data.get("blank_life", 0)
    if data["success"]:
        response.match_index = data["last_log_index"]
    else:
        response.prev_log_index = data["prev_log_index"]
        response.conflict_index, response.conflict_term = data["conflict_index"], data["conflict_term"]
    if "wall_us" in data:
        response.wall_us = data["wall_us"]
        response.applied_index, response.digest_index, response.digest = data["applied"]


def _encode_timeout_now(data: Data, message: raft_pb2.RaftMessage) -> None:
    message.timeout_now.SetInParent()


def _encode_forward(data: Data, message: raft_pb2.RaftMessage) -> None:
    message.forward.number = data["number"]
    message.forward.proposals.extend(data["proposals"])


def _encode_forward_response(data: Data, message: raft_pb2.RaftMessage) -> None:
    response = message.forward_response
    response.number, response.accepted, response.code = data["number"], data["accepted"], data["code"]
    response.first_index, response.entry_term = data["first_index"], data["entry_term"]


def _encode_install_snapshot(data: Data, message: raft_pb2.RaftMessage) -> None:
    install = message.install_snapshot
    install.meta.CopyFrom(data["meta"])
    install.offset, install.data, install.round = data["offset"], data["data"], data["request_id"]


def _encode_install_snapshot_response(data: Data, message: raft_pb2.RaftMessage) -> None:
    response = message.install_snapshot_response
    response.index, response.next_offset = data["index"], data["next_offset"]
    response.installed, response.round = data["installed"], data["request_id"]
    response.blank_life = data.get("blank_life", 0)
    response.SetInParent()


def _encode_read_index(data: Data, message: raft_pb2.RaftMessage) -> None:
    message.read_index.number = data["number"]


def _encode_read_index_response(data: Data, message: raft_pb2.RaftMessage) -> None:
    response = message.read_index_response
    response.number, response.confirmed, response.index = data["number"], data["confirmed"], data["index"]


def _decode_request_vote(message: raft_pb2.RaftMessage, data: Data) -> None:
    request = message.request_vote
    data["candidate_id"] = data["sender"]
    data["last_log_index"], data["last_log_term"] = request.last_log_index, request.last_log_term
    data["pre_vote"], data["transfer"], data["begins"] = request.pre_vote, request.transfer, request.begins


def _decode_request_vote_response(message: raft_pb2.RaftMessage, data: Data) -> None:
    response = message.request_vote_response
    data["vote_granted"], data["pre_vote"] = response.vote_granted, response.pre_vote
    data["empty"], data["blank"], data["removed_at"] = response.empty, response.blank, response.removed_at


def _decode_append_entries(message: raft_pb2.RaftMessage, data: Data) -> None:
    append = message.append_entries
    index, term = append.prev_log_index, append.prev_log_term
    entries: list[Committed] = []
    for entry in append.entries:
        index += 1
        data["sound"] = data.get("sound", True) and entry.term >= term
        term = entry.term
        membership = entry.membership
        entries.append(Committed(index, term, entry.data, membership))
        if membership and not is_membership(membership):
            data["sound"] = False
    data["sound"] = data.get("sound", True) and term <= message.term
    data["leader_id"], data["entries"] = data["sender"], entries
    data["prev_log_index"], data["prev_log_term"] = append.prev_log_index, append.prev_log_term
    data["commit_index"], data["request_id"], data["wall_us"] = append.commit_index, append.round, append.wall_us
    data["agreed"] = (append.digest_index, append.digest)
    data["counts"] = (append.counts_life, append.counts_from)


def _decode_append_entries_response(message: raft_pb2.RaftMessage, data: Data) -> None:
    response = message.append_entries_response
    data["success"], data["request_id"] = response.success, response.round
    data["last_log_index"], data["prev_log_index"] = response.match_index, response.prev_log_index
    data["conflict_index"], data["conflict_term"] = response.conflict_index, response.conflict_term
    data["blank_life"] = response.blank_life
    if response.wall_us:
        data["wall_us"] = response.wall_us
        data["applied"] = (response.applied_index, response.digest_index, response.digest)


def _decode_timeout_now(message: raft_pb2.RaftMessage, data: Data) -> None:
    pass


def _decode_forward(message: raft_pb2.RaftMessage, data: Data) -> None:
    data["number"], data["proposals"] = message.forward.number, list(message.forward.proposals)
    data["sound"] = bool(data["proposals"])


def _decode_forward_response(message: raft_pb2.RaftMessage, data: Data) -> None:
    response = message.forward_response
    data["number"], data["accepted"], data["code"] = response.number, response.accepted, response.code
    data["first_index"], data["entry_term"] = response.first_index, response.entry_term


def _decode_install_snapshot(message: raft_pb2.RaftMessage, data: Data) -> None:
    install, meta = message.install_snapshot, message.install_snapshot.meta
    data["leader_id"], data["meta"], data["request_id"] = data["sender"], meta, install.round
    data["offset"], data["data"] = install.offset, install.data
    data["sound"] = (
        meta.cluster_id == message.cluster_id
        and meta.index > 0
        and 0 < meta.term <= message.term
        and len(meta.sha256) == _SHA256_BYTES
        and 0 < meta.size_bytes <= MAX_STATE_BYTES
        and install.offset + len(install.data) <= meta.size_bytes
        and is_membership(meta.membership)
    )


def _decode_install_snapshot_response(message: raft_pb2.RaftMessage, data: Data) -> None:
    response = message.install_snapshot_response
    data["index"], data["next_offset"] = response.index, response.next_offset
    data["installed"], data["request_id"] = response.installed, response.round
    data["blank_life"] = response.blank_life


def _decode_read_index(message: raft_pb2.RaftMessage, data: Data) -> None:
    data["number"] = message.read_index.number


def _decode_read_index_response(message: raft_pb2.RaftMessage, data: Data) -> None:
    response = message.read_index_response
    data["number"], data["confirmed"], data["index"] = response.number, response.confirmed, response.index


_ENCODE: Mapping[str, Callable[[Data, raft_pb2.RaftMessage], None]] = {
    "request_vote": _encode_request_vote,
    "request_vote_response": _encode_request_vote_response,
    "append_entries_response": _encode_append_entries_response,
    "timeout_now": _encode_timeout_now,
    "forward": _encode_forward,
    "forward_response": _encode_forward_response,
    "install_snapshot": _encode_install_snapshot,
    "install_snapshot_response": _encode_install_snapshot_response,
    "read_index": _encode_read_index,
    "read_index_response": _encode_read_index_response,
}
_DECODE: Mapping[str, Callable[[raft_pb2.RaftMessage, Data], None]] = {
    "request_vote": _decode_request_vote,
    "request_vote_response": _decode_request_vote_response,
    "append_entries": _decode_append_entries,
    "append_entries_response": _decode_append_entries_response,
    "timeout_now": _decode_timeout_now,
    "forward": _decode_forward,
    "forward_response": _decode_forward_response,
    "install_snapshot": _decode_install_snapshot,
    "install_snapshot_response": _decode_install_snapshot_response,
    "read_index": _decode_read_index,
    "read_index_response": _decode_read_index_response,
}
