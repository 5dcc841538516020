"""`cortexd repair`: what is damaged in a voter's folder, and how to mend it without cutting what was committed."""

from __future__ import annotations

import enum
from datetime import UTC, datetime
from pathlib import Path

from node.core.faults import Code, Fault
from node.env import Env
from node.recovery.examine import JOURNAL, SNAPSHOTS, Examined
from node.store.errors import StoreError
from node.store.replace import sync_folder
from node.store.store import FILE, Store


class Mend(enum.Enum):
    """The way in which a folder is made whole."""

    NOTHING = "nothing"
    ROWS = "rows"
    """They are made anew from the snapshot and the log."""
    SNAPSHOT = "snapshot"
    """One is made of the rows, in the place of that which the log goes on from."""
    JOIN_ANEW = "join anew"
    """The log cannot be trusted: the node leaves, is emptied, and catches up as a learner."""


def mend_of(found: Examined) -> Mend:
    if found.journal_flaw or found.lost_flaw:
        # Nothing here proves that no entry or vote is missing: what else is whole cannot make up for that.
        return Mend.JOIN_ANEW
    if found.snapshot_lost:
        return Mend.SNAPSHOT
    return Mend.ROWS if found.store_flaw else Mend.NOTHING


def lines(data: Path, found: Examined) -> list[str]:
    """What was looked at, for the operator."""
    snapshot = f"as of entry {found.snapshot.index}" if found.snapshot is not None else "there is none"
    if found.snapshot_lost:
        snapshot = "there is no whole one, and the log begins behind one"
    log = f"entries up to {found.journal.last_index}" if found.journal is not None else "not readable"
    rows = f"as of entry {found.saved.index}" if found.saved is not None else "not readable"
    report = [
        f"In {data}:",
        f"  log        {found.journal_flaw or f'whole, {log}'}",
        f"  snapshot   {f'whole, {snapshot}' if found.snapshot is not None else snapshot}",
        f"  rows       {found.store_flaw or f'whole, {rows}'}",
    ]
    report += [f"             {found.lost_flaw}"] if found.lost_flaw else []
    report += [f"  aside      {flaw}" for flaw in found.snapshot_flaws]
    mend = mend_of(found)
    if mend is Mend.NOTHING:
        return [*report, "Nothing needs to be mended."]
    if mend is Mend.ROWS:
        return [*report, f"The rows are put aside as {FILE}.aside, and made anew at the next start."]
    if mend is Mend.SNAPSHOT:
        return [
            *report,
            f"A snapshot is made of the rows, as of entry {found.saved_index}; the log goes on from it.",
        ]
    return [
        *report,
        "The log cannot be mended here: an entry that this node promised to keep may be missing.",
        "It leaves the voters, what it has is put aside, and it joins again and catches up.",
    ]


def put_rows_aside(data: Path) -> None:
    """Raises Fault."""
    store = Store(data / FILE)
    try:
        store.set_aside()
    except StoreError as error:
        raise Fault(Code.INVALID, error.message, error.remedy) from None
    finally:
        store.close()


def put_log_aside(data: Path) -> Path:
    """Empty the folder of what a voter keeps, which stays in the folder that is returned. Raises Fault."""
    at = datetime.fromtimestamp(Env.real(data).clock.wall_us() / 1e6, UTC)
    aside = data / f"aside-{at:%Y%m%dT%H%M%S}"
    try:
        aside.mkdir(mode=0o700)
        # The log goes last: rows without a log are refused, a log without rows is not.
        for file in sorted(data.glob(f"{FILE}*")):
            file.rename(aside / file.name)
        for name in (SNAPSHOTS, JOURNAL):
            if (data / name).is_dir():
                (data / name).rename(aside / name)
        sync_folder(aside)
        sync_folder(data)
    except OSError as error:
        message = f"What is in {data} cannot be put aside: {error.strerror}."
        raise Fault(Code.INVALID, message, "Check who may write the folder, then repeat.") from None
    return aside
