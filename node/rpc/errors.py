"""The one error table: what a Fault is on the wire. Messages and remedies travel as trailing metadata."""

from __future__ import annotations

import grpc
from google.protobuf.message import Message

from cortex.v1 import cluster_pb2
from node.core.faults import Code, Fault, no_leader, outcome_unknown
from node.rpc import remedies
from node.rpc.remedies import Subject

STATUS: dict[Code, grpc.StatusCode] = {
    Code.INVALID: grpc.StatusCode.INVALID_ARGUMENT,
    Code.NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    Code.AMBIGUOUS: grpc.StatusCode.INVALID_ARGUMENT,
    Code.ALREADY_EXISTS: grpc.StatusCode.ALREADY_EXISTS,
    Code.WRONG_STATE: grpc.StatusCode.FAILED_PRECONDITION,
    Code.STALE_FENCE: grpc.StatusCode.FAILED_PRECONDITION,
    Code.QUEUE_FULL: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Code.NO_LEADER: grpc.StatusCode.UNAVAILABLE,
    Code.OUTCOME_UNKNOWN: grpc.StatusCode.DEADLINE_EXCEEDED,
    Code.OVERLOADED: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Code.TOO_LARGE: grpc.StatusCode.INVALID_ARGUMENT,
    Code.GONE: grpc.StatusCode.OUT_OF_RANGE,
    Code.DEADLINE: grpc.StatusCode.DEADLINE_EXCEEDED,
    Code.UNAUTHENTICATED: grpc.StatusCode.UNAUTHENTICATED,
    Code.UNSUPPORTED: grpc.StatusCode.UNIMPLEMENTED,
    Code.INTERNAL: grpc.StatusCode.INTERNAL,
}


def metadata(fault: Fault) -> tuple[tuple[str, str | bytes], ...]:
    return (
        ("cortex-code", str(fault.code)),
        ("cortex-message-bin", fault.message.encode()),
        ("cortex-remedy-bin", fault.remedy.encode()),
    )


def from_reply(code: str, message: str, subject: Subject = Subject()) -> Fault:  # noqa: B008
    """The Fault of a refusal that apply put into its reply, with what to do about it."""
    try:
        known = Code(code)
    except ValueError:
        known = Code.INTERNAL
    return Fault(known, message, remedies.remedy(known, subject))


def link_lost(method: str, request: Message) -> Fault:
    """What it means that another daemon was asked and its answer never came: a change may have been made."""
    if isinstance(request, cluster_pb2.TransferLeaderRequest):
        message = "The leader did not answer in time; whether another one leads now is not known."
        return Fault(Code.OUTCOME_UNKNOWN, message, "See who leads in `cortex status`.")
    rehearsed = method == "RehearseDrain" or getattr(request, "dry_run", False)
    changes = "mutation" in request.DESCRIPTOR.fields_by_name and not rehearsed
    return outcome_unknown() if changes else no_leader()


def from_rpc(error: grpc.aio.AioRpcError | grpc.RpcError) -> Fault | None:
    """The Fault that a daemon sent, or None when the call failed for another reason."""
    found: dict[str, str | bytes] = dict(error.trailing_metadata() or ())  # type: ignore[arg-type]
    if "cortex-code" not in found:
        return None
    message, remedy = found.get("cortex-message-bin", b""), found.get("cortex-remedy-bin", b"")
    try:
        code = Code(str(found["cortex-code"]))
    except ValueError:
        code = Code.INTERNAL
    return Fault(code, _text(message), _text(remedy))


def _text(value: str | bytes) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value
