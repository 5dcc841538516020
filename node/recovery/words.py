"""How recovery tells operators what it found."""

from __future__ import annotations

from datetime import UTC, datetime

from node.consensus.membership import Membership


def moment(at_us: int) -> str:
    """A leader time, for people; it is unix time."""
    if at_us <= 0:
        return "an unknown time"
    return datetime.fromtimestamp(at_us / 1e6, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def members(membership: Membership) -> str:
    found = [
        f"{member.id} ({member.address}{'' if member.voter else ', learner'})" for member in membership.members
    ]
    return ", ".join(found) or "not known"


def size(count_bytes: int) -> str:
    """As 12.3 MB."""
    value, unit = float(count_bytes), "bytes"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    return f"{count_bytes} bytes" if unit == "bytes" else f"{value:.1f} {unit}"
