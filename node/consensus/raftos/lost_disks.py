"""Peers that lack what they had acknowledged: how their leader takes them in again, or says that it cannot.

A blank peer may have lost its votes, too. It counts again with an entry that was appended after it said so, and is
committed without its help: whoever it may have voted for lacks that entry, and wins no election any more.
"""

from __future__ import annotations

import structlog

from node.consensus.raftos.progress import Progress
from node.consensus.raftos.wire import Data

_DENIALS = 20


def is_of_this_life(progress: Progress, data: Data, current_round: int) -> bool:
    """Whether the peer still has what this answer says; notes when it lost it, or counts again."""
    life = data["blank_life"]
    if life and life != progress.blank_life:
        progress.begin_life(life, current_round + 1)
    elif progress.blank_life and not life:
        if data["request_id"] < progress.life_round:
            return False
        # It acknowledges anew what it has, so that this is counted when it says so.
        progress.blank_life = progress.match_index = 0
    return True


def note_blank(own_id: str, progress: Progress, index: int) -> None:
    """The peer counts again with entry `index`."""
    progress.counts_from = index
    log = structlog.get_logger(node=own_id)
    log.info("a peer that began without a log counts again from here", peer=progress.id, index=index)


def counts_again(progress: Progress, commit_index: int) -> tuple[int, int]:
    """To a blank peer: its life, and the entry with which it counts again; zeros before that is committed."""
    return (progress.blank_life, progress.counts_from) if 0 < progress.counts_from <= commit_index else (0, 0)


def note_denial(own_id: str, progress: Progress) -> None:
    """Late answers may say so now and then; many in a row mean a lost disk, which nobody may count on."""
    progress.denials += 1
    if progress.denials == _DENIALS:
        structlog.get_logger(node=own_id).error(
            "a peer lost what it had acknowledged, and is sent nothing more",
            peer=progress.id,
            acknowledged=progress.match_index,
            remedy="Remove it from the voters, empty its data folder, let it join, and add it again.",
        )
