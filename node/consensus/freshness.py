"""How old what a follower has applied may be: since it last had all that its leader had committed."""

from __future__ import annotations


class Freshness:
    """Told by an engine what the leader says is committed. Times are of the boot clock."""

    def __init__(self) -> None:
        self._as_of_us: int | None = None
        self._heard: tuple[int, int] | None = None
        """A commit index that was not applied here when it was heard, and when that was."""

    def heard(self, commit_index: int, applied_index: int, now_us: int) -> None:
        """The leader says that everything up to `commit_index` is committed, and nothing else."""
        self.as_of_us(applied_index)
        if self._heard is None:
            self._heard = (commit_index, now_us)
            self.as_of_us(applied_index)

    def as_of_us(self, applied_index: int) -> int | None:
        """When what is applied here was all that was committed; None when that was never heard."""
        if self._heard is not None and applied_index >= self._heard[0]:
            self._as_of_us, self._heard = self._heard[1], None
        return self._as_of_us
