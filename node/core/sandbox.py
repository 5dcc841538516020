"""Sandbox levels as nodes offer them."""

from __future__ import annotations

from cortex.v1.types_pb2 import Node, SandboxLevel


def offers_level(row: Node, level: int) -> bool:
    """Whether a node runs commands at that sandbox level; one that says nothing of levels offers none."""
    if level <= SandboxLevel.SANDBOX_LEVEL_NONE:
        return True
    return any(offer.level == level and offer.available for offer in row.sandboxes)


def level_name(level: int) -> str:
    names = SandboxLevel.DESCRIPTOR.values_by_number
    return str(names[level].name.removeprefix("SANDBOX_LEVEL_").lower()) if level in names else f"level {level}"
