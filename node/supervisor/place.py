"""Where a supervisor stands: its data folder, and what it found there when it began."""

from __future__ import annotations


class Place:
    """`lock` is the descriptor of the folder's lock; `descriptors` how many a command may have open, 0 = as many as
    this process."""

    __slots__ = ("boot_id", "data", "descriptors", "identity", "lock")

    def __init__(self, data: str, lock: int, boot_id: str, identity: str, descriptors: int) -> None:
        self.data = data
        self.lock = lock
        self.boot_id = boot_id
        self.identity = identity
        self.descriptors = descriptors

    @property
    def folder(self) -> str:
        return f"{self.data}/supervisor"

    def state(self) -> dict[str, object]:
        return {name: getattr(self, name) for name in self.__slots__}

    @staticmethod
    def restored(state: dict[str, object]) -> Place:
        return Place(**{name: state[name] for name in Place.__slots__})  # type: ignore[arg-type]
