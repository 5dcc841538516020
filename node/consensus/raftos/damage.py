"""What a journal's disk can do to this voter, in words for the operator."""

from __future__ import annotations

from node.core.faults import Code, Fault


class JournalUnusable(Fault):
    """The disk does not let the journal be read or written."""

    def __init__(self, error: OSError) -> None:
        super().__init__(
            Code.INTERNAL,
            f"The journal cannot be used: {error.strerror or error}.",
            "Check the disk, and who may write the folder `raft` in the data folder; then start again.",
        )


class JournalDamaged(Fault):
    """The journal cannot be trusted; the message says where it is broken, the remedy how to repair."""

    def __init__(self, where: str, why: str) -> None:
        super().__init__(
            Code.INTERNAL,
            f"The journal is damaged: {where}: {why}. Nothing was changed.",
            "The other voters still have what is lost here: `cortexd repair --data DIR --id ID` says what is "
            "damaged, and lets the node join again. Never delete single files.",
        )


class JournalLost(JournalDamaged):
    """A snapshot is here, and the log that led to it is not: votes and promises went with it."""

    def __init__(self, snapshot_index: int) -> None:
        Fault.__init__(
            self,
            Code.INTERNAL,
            f"The log is gone: the folder `raft` holds none, though a snapshot ends at entry {snapshot_index}. "
            "Nothing was changed.",
            "If `raft` was moved, put it back. Else this node forgot whom it voted for and what it promised: "
            "`cortexd repair --data DIR --id ID` lets it join again from the others; where it was alone, "
            "`cortexd recover` goes on with the snapshot.",
        )


class DiskFull(Fault):
    """No room for the next frame; nothing was promised, the same commit may be tried again."""

    def __init__(self) -> None:
        super().__init__(
            Code.INTERNAL,
            "The disk has no room for the journal.",
            "Make room on the file system of the data folder; a running daemon goes on by itself then.",
        )


class OtherCluster(Fault):
    """The data folder is another cluster's."""

    def __init__(self, found: str, own: str) -> None:
        super().__init__(
            Code.INVALID,
            f"The snapshots in the data folder are of cluster {found}, the secret is of cluster {own}.",
            "Start with the secret file of that cluster, or with another data folder; nothing was changed.",
        )


def disagrees_with_store(begins_behind: int, ends_at: int, applied: int) -> JournalDamaged:
    """The store has applied what the journal lost, or lacks what the journal no longer holds."""
    if applied > ends_at:
        return JournalDamaged("its end", f"it ends at entry {ends_at} but {applied} were applied here")
    return JournalDamaged(
        "its beginning", f"it begins behind entry {begins_behind} but only {applied} were applied here"
    )
