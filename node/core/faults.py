"""Fault: every refusal that a user can meet, with one sentence of cause and one of remedy."""

from __future__ import annotations

import enum


class Code(enum.StrEnum):
    """Stable names of refusals. The gRPC status of each stands in node.rpc.errors."""

    INVALID = "invalid"
    NOT_FOUND = "not_found"
    AMBIGUOUS = "ambiguous"
    ALREADY_EXISTS = "already_exists"
    WRONG_STATE = "wrong_state"
    STALE_FENCE = "stale_fence"
    QUEUE_FULL = "queue_full"
    NO_LEADER = "no_leader"
    OUTCOME_UNKNOWN = "outcome_unknown"
    OVERLOADED = "overloaded"
    TOO_LARGE = "too_large"
    GONE = "gone"
    DEADLINE = "deadline"
    UNAUTHENTICATED = "unauthenticated"
    UNSUPPORTED = "unsupported"
    INTERNAL = "internal"


class Fault(Exception):
    """Raised towards a caller; never inside apply, where a refusal is a value."""

    def __init__(self, code: Code, message: str, remedy: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.remedy = remedy


def no_leader() -> Fault:
    return Fault(
        Code.NO_LEADER,
        "No leader is known, so nothing was changed.",
        "Try again; see `cortex status` if it persists.",
    )


def begins_anew() -> Fault:
    """What calls meet on a daemon that is replacing its state."""
    return Fault(
        Code.NO_LEADER,
        "This daemon is reloading the cluster's state.",
        "Try again in a second, or ask another daemon.",
    )


def outcome_unknown() -> Fault:
    return Fault(
        Code.OUTCOME_UNKNOWN,
        "The cluster did not confirm the change in time; it may still happen.",
        "Repeat it with the same request id: it is done once at most.",
    )
