"""The section of the daemon's file that sets an executor up, read key by key."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from node.core.faults import Code, Fault

_DAY_S = 86_400


class Section:
    """[executor.`name`]. Each of its methods raises a Fault that names the key; so does this for an unknown one."""

    def __init__(self, name: str, given: Mapping[str, object], known: Collection[str]) -> None:
        self._name = name
        self._given = given
        unknown = sorted(set(given) - set(known))
        if unknown:
            raise self.bad(unknown[0], "there is no such setting", f"Known are {', '.join(known)}.")

    def words(self, name: str, separator: str = ",") -> tuple[str, ...]:
        """A list of texts, or one text with `separator` between."""
        value = self._given.get(name, ())
        words = value.split(separator) if isinstance(value, str) else value
        if not isinstance(words, list | tuple) or not all(isinstance(word, str) and word.strip() for word in words):
            raise self.bad(name, "it is no list of texts", f'Write {name} = ["…"].')
        return tuple(word.strip() for word in words)

    def text(self, name: str, default: str = "") -> str:
        value = self._given.get(name, default)
        if not isinstance(value, str):
            raise self.bad(name, "it is no text", f'Write {name} = "…".')
        return value

    def whole(self, name: str, default: int, low: int, high: int) -> int:
        value = self._given.get(name, default)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise self.bad(name, f"it is {value!r}", f"Give a whole number from {low} to {high}.")
        return value

    def seconds(self, name: str, default: float, low: float = 0.0) -> float:
        """At most a day."""
        value = self._given.get(name, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= _DAY_S:
            raise self.bad(name, f"it is {value!r}", f"Give seconds from {low:g} to {_DAY_S}.")
        return float(value)

    def bad(self, name: str, why: str, remedy: str) -> Fault:
        """`why` has no full stop."""
        return Fault(Code.INVALID, f"Setting {name} of [executor.{self._name}] cannot be used: {why}.", remedy)
