"""What would give a node a capability that it lacks, in words. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping

# Declared by executors for what they found; an operator cannot just name them.
_FOUND: Mapping[str, str] = {
    "python:": "name a module with the handler {} in [executor.python] of {}",
    "k8s:": "add the context {} to the kubeconfig of {} ([executor.k8s_job])",
}
_WITH: Mapping[str, str] = {"python:": "python", "k8s:": "k8s_job"}
_TOLD_CHARS = 400


def clipped(words: str) -> str:
    """What a node tells of itself; where that is long, its beginning, cut between two words."""
    if len(words) <= _TOLD_CHARS:
        return words
    kept = words[: _TOLD_CHARS - 1]
    return (kept.rpartition(" ")[0] or kept).rstrip(" .,:;") + "…"


def comes_with(capability: str, type_name: str) -> bool:
    """Whether only an executor of that type declares it."""
    return any(capability.startswith(prefix) and kind == type_name for prefix, kind in _WITH.items())


def giving(node: str, missing: Collection[str]) -> str:
    """How `node` would come to have what is missing."""
    named = sorted(name for name in missing if not name.startswith(tuple(_FOUND)))
    parts = [f"give {node} the capability {', '.join(named)}"] if named else []
    for prefix, text in _FOUND.items():
        found = sorted(name.removeprefix(prefix) for name in missing if name.startswith(prefix))
        parts += [text.format(name, node) for name in found]
    return ", and ".join(parts)
