"""`cortexd migrate`: a cluster's state into an external etcd, from which its daemons go on."""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import dataclass
from pathlib import Path

from cortex.v1 import raft_pb2
from node.consensus.etcd.importing import import_state
from node.consensus.etcd.keys import Keys
from node.consensus.membership import Membership
from node.core.faults import Code, Fault
from node.core.model import LEVEL
from node.core.rebase import INDEX_STEP
from node.engines import etcd_client
from node.env import Env
from node.etcd_url import EtcdUrl
from node.recovery import words
from node.recovery.backup import chunks_of, meta_of, store_of, translated, working_folder
from node.recovery.files import SnapshotFile, open_snapshot
from node.recovery.replay import rebase

_ACTOR = "cortexd migrate"


@dataclass(frozen=True, slots=True)
class Plan:
    file: SnapshotFile
    url: EtcdUrl
    cluster_id: str
    voters: dict[str, str]

    def lines(self) -> list[str]:
        """For the operator."""
        meta = self.file.meta
        return [
            f"The snapshot {self.file.path} ends at entry {meta.index}, of {words.moment(meta.at_us)}.",
            "Whatever the cluster has committed since is lost: no daemon may have run after it was saved.",
            f"It goes to etcd at {', '.join(self.url.endpoints)} under {self.url.prefix},",
            f"and goes on at entry {meta.index + INDEX_STEP} under a new recovery epoch, with the voters",
            f"{', '.join(f'{name} ({address})' for name, address in self.voters.items())}.",
        ]


def planned(path: Path, to: str, cluster_id: str) -> Plan:
    """Raises Fault."""
    try:
        url = EtcdUrl.parse(to)
    except ValueError as error:
        message = f"--to {to!r} cannot be used: {error}."
        raise Fault(Code.INVALID, message, "Write etcd://host:2379,host:2379?prefix=/cortex/.") from None
    file = open_snapshot(path)
    if file.meta.level > LEVEL:
        message = f"The snapshot needs feature level {file.meta.level}; this release knows {LEVEL}."
        raise Fault(Code.UNSUPPORTED, message, "Migrate it with the release that made it, or a later one.")
    if file.meta.cluster_id != cluster_id:
        message = f"The snapshot {path} belongs to another cluster than this secret."
        raise Fault(Code.INVALID, message, "Name the secret file of the cluster that it was saved from.")
    members = Membership.decode(file.meta.membership).members if file.meta.membership else ()
    voters = {member.id: member.address for member in members if member.voter}
    if not voters:
        message = f"The snapshot {path} names no voters."
        raise Fault(Code.INVALID, message, "Save one from a running daemon.")
    return Plan(file, url, cluster_id, voters)


def carry_out(plan: Plan) -> raft_pb2.SnapshotMeta:
    """What etcd has then. Raises Fault; then nothing lives under the prefix, and it may be tried again."""
    with working_folder(Path(tempfile.gettempdir())) as work, store_of(plan.file, work) as store, translated():
        rebase(store, plan.voters, Env.real(work).clock.wall_us(), plan.file.meta.term, _ACTOR)
        meta = meta_of(store, plan.cluster_id, Membership.of_voters(plan.voters))

        async def send() -> None:
            etcd = etcd_client(plan.url)
            try:
                await import_state(etcd, Keys(plan.url.prefix.encode()), meta, chunks_of(store))
            finally:
                await etcd.close()

        asyncio.run(send())
        return meta
