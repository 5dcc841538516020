"""`cortexd recover`: go on from one disk when a majority of the voters is lost for good."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cortex.v1 import raft_pb2
from cortex.v1.log_pb2 import Entry
from node.consensus.membership import Member
from node.core.faults import Code, Fault
from node.core.rebase import INDEX_STEP
from node.env import Env
from node.recovery import words
from node.recovery.backup import begin_alone, begin_log
from node.recovery.examine import JOURNAL, SNAPSHOTS, Examined, examined, opened
from node.recovery.files import copy_durably
from node.recovery.replay import replay
from node.startup import open_newest
from node.store.errors import StoreError
from node.store.replace import sync_folder
from node.store.store import FILE

_ACTOR = "cortexd recover"


@dataclass(frozen=True, slots=True)
class Plan:
    """What is on the disk, what may be lost, what will be done."""

    data: Path
    cluster_id: str
    found: Examined
    member: Member
    """What the node will be."""
    aside: Path
    last_at_us: int

    def lines(self) -> list[str]:
        """For the operator."""
        found, last = self.found, self.found.last_index
        unsure = last - found.committed_index
        lines = [
            f"On this disk ({self.data}):",
            f"  last entry           {last} (term {found.term}), of {words.moment(self.last_at_us)}",
            f"  surely committed     up to entry {found.committed_index}",
            f"  voters               {words.members(found.membership)}",
        ]
        lines += [f"  damaged              {flaw}" for flaw in _flaws(found)]
        lines += [
            "What may be lost:",
            f"  Whatever the other voters committed behind entry {last}, acknowledged or not.",
        ]
        if unsure:
            lines.append(
                f"  Nothing of the {unsure} entries behind {found.committed_index}: they count as committed."
            )
        return [
            *lines,
            "What will be done:",
            f"  A copy of the log and of the snapshots is kept in {self.aside}.",
            f"  {self.member.id} ({self.member.address}) becomes the only voter. It goes on at entry",
            f"  {last + INDEX_STEP} under a new recovery epoch, so that no index or fence is used twice.",
            "  The other voters must never start again with the folders that they have: empty these first,",
            "  then add them with `cortex voters add`.",
        ]


@contextmanager
def planned(data: Path, cluster_id: str, node_id: str, address: str) -> Iterator[Plan]:
    """Look at a stopped voter's folder. `address` is the node's, "" for the one it had. Raises Fault."""
    with examined(data, cluster_id) as found:
        if not found.last_index:
            message = f"The folder {data} holds no entry that could be recovered."
            raise Fault(Code.WRONG_STATE, message, "Restore a snapshot with `cortexd snapshot restore`.")
        known = found.membership.find(node_id)
        if found.membership.members and known is None:
            message = f"{node_id} is none of the voters that this disk knows: {words.members(found.membership)}."
            raise Fault(Code.INVALID, message, "Name this folder's node with --id.")
        if known is None and not address:
            message = f"The disk does not say at which address {node_id} listens."
            raise Fault(Code.INVALID, message, "Name it with --listen.")
        at = datetime.fromtimestamp(Env.real(data).clock.wall_us() / 1e6, UTC)
        member = Member(node_id, address or (known.address if known is not None else ""))
        aside = data / f"aside-{at:%Y%m%dT%H%M%S}"
        yield Plan(data, cluster_id, found, member, aside, _last_at_us(found))


def carry_out(plan: Plan) -> raft_pb2.SnapshotMeta:
    """Raises Fault. Until the new snapshot stands in it the folder is as it was."""
    work = plan.found.work
    _keep_aside(plan)
    try:
        store = open_newest(Env.real(work), plan.cluster_id, lambda: opened(work / FILE))
        try:
            if plan.found.journal is not None:
                replay(store, plan.found.journal.entries)
            member, term = plan.member, plan.found.term
            meta = begin_alone(store, plan.data, plan.cluster_id, member.id, member.address, term, _ACTOR)
            if plan.found.journal is None:
                # A damaged one would be refused at the start, before the snapshot makes it void. A copy is aside.
                begin_log(plan.data, meta)
            return meta
        finally:
            store.close()
    except StoreError as error:
        raise Fault(Code.INVALID, error.message, error.remedy) from None


def _keep_aside(plan: Plan) -> None:
    """What is copied is on the disk before anything is changed: a damaged log is removed afterwards."""
    plan.aside.mkdir(mode=0o700)
    for name in (JOURNAL, SNAPSHOTS):
        if (plan.data / name).is_dir():
            copy_durably(plan.data / name, plan.aside / name)
    sync_folder(plan.data)


def _last_at_us(found: Examined) -> int:
    times = [found.saved.at_us if found.saved is not None else 0]
    times += [found.snapshot.at_us] if found.snapshot is not None else []
    if found.journal is not None and found.journal.entries:
        times.append(Entry.FromString(found.journal.entries[-1].data).at_us)
    return max(times)


def _flaws(found: Examined) -> list[str]:
    flaws = [found.journal_flaw, found.store_flaw, found.lost_flaw, *found.snapshot_flaws]
    return [flaw for flaw in flaws if flaw]
