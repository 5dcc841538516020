"""Libraries that are installed apart, and what brings them."""

from __future__ import annotations

from node.core.faults import Code, Fault

AETCD_COMMAND = "pip install 'aetcd>=1.0,<2'"
RAFTOS_COMMAND = "pip install --no-deps raftos==0.2.6"


def missing(error: ImportError) -> Fault:
    """What to tell the operator. Raises `error` itself when it is another library that cannot be imported."""
    library = (error.name or "").partition(".")[0]
    if library == "aetcd":
        message = "The etcd client aetcd is not installed, which an external etcd needs."
        return Fault(Code.UNSUPPORTED, message, f"Run: {AETCD_COMMAND}")
    if library == "raftos":
        message = (
            "The Raft library raftos is not installed; its own pins keep pip from installing it as a dependency."
        )
        return Fault(Code.UNSUPPORTED, message, f"Run: {RAFTOS_COMMAND}")
    raise error
