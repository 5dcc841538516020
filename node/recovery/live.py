"""What recovery asks of daemons that run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import grpc

from cortex.v1 import cluster_pb2 as pb
from cortex.v1 import cluster_pb2_grpc, raft_pb2
from node.core.faults import Code, Fault
from node.recovery.files import save_snapshot
from node.rpc.errors import from_rpc
from node.rpc.link import OPTIONS

_CHANGE_S = 30.0


def save_running(socket: Path, path: Path) -> raft_pb2.SnapshotMeta:
    """Save a copy of the state of the daemon behind a unix socket. Raises Fault."""
    with grpc.insecure_channel(f"unix:{socket}", options=OPTIONS) as channel:
        stub = cluster_pb2_grpc.ClusterStub(channel)
        try:
            replies = iter(stub.SaveSnapshot(pb.SaveSnapshotRequest()))
            meta = raft_pb2.SnapshotMeta()
            meta.CopyFrom(next(replies).meta)
            return save_snapshot(path, meta, _chunks(replies))
        except grpc.RpcError as error:
            raise _fault(error, str(socket)) from None


def _chunks(replies: Iterator[pb.SaveSnapshotReply]) -> Iterator[bytes]:
    """The pieces of the state; raises OSError when the daemon did not send it whole."""
    size_bytes = 0
    for reply in replies:
        if reply.HasField("meta"):
            if reply.meta.size_bytes == size_bytes:
                return
            break
        size_bytes += len(reply.data)
        yield reply.data
    raise OSError("the daemon did not send all of it")


def remove_voter(address: str, secret: str, node_id: str, request_id: str) -> None:
    """Have the cluster go on without a voter; nothing happens when it is none. Raises Fault."""
    metadata = (("cortex-secret", secret), ("cortex-actor-bin", b"cortexd repair"))
    with grpc.insecure_channel(address, options=OPTIONS) as channel:
        stub = cluster_pb2_grpc.ClusterStub(channel)
        try:
            known = stub.ListVoters(pb.ListVotersRequest(), timeout=_CHANGE_S, metadata=metadata)
            if node_id in {voter.id for voter in known.voters}:
                mutation = pb.Mutation(client="cortexd repair", request_id=request_id)
                request = pb.RemoveVoterRequest(mutation=mutation, node=node_id)
                stub.RemoveVoter(request, timeout=_CHANGE_S, metadata=metadata)
        except grpc.RpcError as error:
            raise _fault(error, address) from None


def _fault(error: grpc.RpcError, where: str) -> Fault:
    known = from_rpc(error)
    return known or Fault(Code.NO_LEADER, f"No daemon answers at {where}.", "Start it, or name another one.")
