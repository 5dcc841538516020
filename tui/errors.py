"""ClusterError: every refusal or failure that a caller of the cluster can meet, with its remedy and exit code."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import grpc

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_NOT_FOUND = 3
EXIT_UNREACHABLE = 4
EXIT_INTERRUPTED = 130

_EXIT_CODES = {
    "usage": EXIT_USAGE,
    "not_found": EXIT_NOT_FOUND,
    "no_leader": EXIT_UNREACHABLE,
    "outcome_unknown": EXIT_UNREACHABLE,
    "overloaded": EXIT_UNREACHABLE,
    "deadline": EXIT_UNREACHABLE,
    "unreachable": EXIT_UNREACHABLE,
}

# Codes after which the same request may succeed without anybody changing anything.
_TRANSIENT = frozenset({"no_leader", "outcome_unknown", "overloaded", "deadline", "unreachable"})


class ClusterError(Exception):
    """One sentence of cause, one of remedy.

    `code` is a stable name (not_found, wrong_state, no_leader, unreachable ...), `exit_code` what the command
    line ends with, `transient` whether the same request may succeed later.
    """

    def __init__(self, code: str, message: str, remedy: str, *, exit_code: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.remedy = remedy
        self.exit_code = _EXIT_CODES.get(code, EXIT_FAILED) if exit_code is None else exit_code

    @property
    def transient(self) -> bool:
        return self.code in _TRANSIENT

    @property
    def silent(self) -> bool:
        """Whether no daemon said this."""
        return isinstance(self, Unreachable | Late)

    @property
    def never_sent(self) -> bool:
        """Whether it is certain that the request was not carried out."""
        return self.code == "no_leader" or (isinstance(self, Unreachable) and self.refused)


class Unreachable(ClusterError):
    """No answer from one address. `refused`: not even a connection."""

    def __init__(self, address: str, detail: str, *, refused: bool) -> None:
        super().__init__(
            "unreachable",
            f"No daemon answers at {address}: {detail}.",
            "Start it with `cortex up --data DIR` or `systemctl start cortexd`, or name another cluster.",
        )
        self.refused = refused


class Late(ClusterError):
    """No answer in time from one address."""

    def __init__(self, address: str, method: str) -> None:
        super().__init__(
            "deadline",
            f"{address} did not answer {method} in time.",
            "Try again; if it stays so, see that daemon's log, or end and start it again.",
        )


def usage(message: str, remedy: str) -> ClusterError:
    """Returns an error of the command line's own input, exit code 2."""
    return ClusterError("usage", message, remedy)


def from_rpc(error: grpc.aio.AioRpcError, address: str, method: str) -> ClusterError:
    """Returns what a failed call means: the daemon's own words where it gave some, else ours."""
    told = _from_metadata(error.trailing_metadata())
    if told is not None:
        return told
    detail = error.details() or ""
    status = error.code()
    if status is grpc.StatusCode.UNAVAILABLE:
        if "dns resolution" in detail.lower() or "name resolution" in detail.lower():
            return Unreachable(address, "that name is not known", refused=True)
        refused = detail.startswith("failed to connect")
        return Unreachable(
            address, "connection refused or timed out" if refused else "connection lost", refused=refused
        )
    if status is grpc.StatusCode.DEADLINE_EXCEEDED:
        return Late(address, method)
    if status is grpc.StatusCode.UNAUTHENTICATED:
        return ClusterError(
            "unauthenticated",
            f"{address} refused the cluster secret.",
            "Name the cluster's secret file with CORTEX_SECRET_FILE, or its folder with --data.",
        )
    if status is grpc.StatusCode.UNIMPLEMENTED:
        return ClusterError(
            "unsupported",
            f"The daemon at {address} does not know {method}.",
            "Update the older one of cortex and cortexd.",
        )
    if status is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return ClusterError(
            "too_large", _too_large(method, detail), "A message holds at most 4 MiB: send or ask for less at once."
        )
    return ClusterError(
        "internal",
        f"{address} failed at {method}: {status.name.lower()} {detail}".rstrip() + ".",
        "See that daemon's log.",
    )


def _too_large(method: str, detail: str) -> str:
    """gRPC names sizes as in: Sent message larger than max (6001270 vs. 4194304)."""
    size = re.search(r"larger than max \((\d+) vs", detail)
    if size is None:
        return f"{method}: {detail}."
    if "CLIENT" in detail and "Sent" in detail:
        return f"The request has {int(size[1]) / 1e6:.1f} MB, so nothing was sent."
    return f"The answer to {method} has {int(size[1]) / 1e6:.1f} MB."


def _from_metadata(trailing: Iterable[Any] | None) -> ClusterError | None:
    found: dict[str, str | bytes] = dict(trailing or ())
    code = found.get("cortex-code")
    if code is None:
        return None
    return ClusterError(
        _text(code), _text(found.get("cortex-message-bin", b"")), _text(found.get("cortex-remedy-bin", b""))
    )


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("utf-8", "replace")
