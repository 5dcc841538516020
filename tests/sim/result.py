"""What one simulated run tells: operations, violations, what it reached, and a hash over all that happened."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field

_TOLD = 20


@dataclass(slots=True)
class Result:
    seed: int
    kind: str
    virtual_s: float = 0.0
    operations: int = 0
    violations: list[str] = field(default_factory=list)
    reached: Counter[str] = field(default_factory=Counter)
    trace: str = ""
    steps: int = 0
    """How many steps the nemesis drew."""


class Trace:
    """Everything that happens, as text with its virtual time; hashed, and kept when asked for."""

    def __init__(self, keep: bool = False) -> None:
        self._hash = hashlib.sha256()
        self.lines: list[str] | None = [] if keep else None

    def note(self, now_s: float, what: str) -> None:
        line = f"{now_s:.6f} {what}"
        self._hash.update(line.encode() + b"\n")
        if self.lines is not None:
            self.lines.append(line)

    def digest(self) -> str:
        return self._hash.hexdigest()


class Violations:
    """Broken invariants, the first ones in words."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def __call__(self, now_s: float, what: str) -> None:
        if len(self.found) < _TOLD:
            self.found.append(f"{now_s:.3f} s: {what}")
