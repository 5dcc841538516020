"""Orders that have not started: which may start now, and which wait for a slot, a lease or the machine."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from node.supervisor.attempt import NEVER, Order
from node.supervisor.slots import SlotQueue

_RETRY_US = 100_000


class Waiting:
    """Orders by key. A slot that next_batch() took is given back by ended() or put_back()."""

    __slots__ = ("_orders", "_paused_until_us", "_queue", "_unleased")

    def __init__(self) -> None:
        self._orders: dict[str, Order] = {}
        self._queue = SlotQueue()
        self._unleased: set[str] = set()
        self._paused_until_us = 0

    def __contains__(self, key: str) -> bool:
        return key in self._orders

    def __len__(self) -> int:
        return len(self._orders)

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._orders))

    def state(self) -> dict[str, object]:
        """What restore() makes the same of. Slots that are taken are not in it."""
        return {
            "orders": [order.values() for order in self._orders.values()],
            "unleased": list(self._unleased),
            "slots": self._queue.slots,
            "paused_until_us": self._paused_until_us,
        }

    def restore(self, state: dict[str, object], running: Iterable[Order]) -> None:
        """Take over what waited, and the slots of what runs. Raises LookupError, TypeError or ValueError."""
        self.configure(state["slots"])  # type: ignore[arg-type]
        for order in running:
            self._queue.occupy(order.kind)
        unleased = set(state["unleased"])  # type: ignore[call-overload]
        for values in state["orders"]:  # type: ignore[attr-defined]
            order = Order(values)
            if order.key in unleased:
                self._orders[order.key] = order
            else:
                self.add(order)
        self._unleased = unleased
        self._paused_until_us = state["paused_until_us"]  # type: ignore[assignment]

    def configure(self, slots: dict[int, int]) -> None:
        self._queue.configure(slots)

    def add(self, order: Order) -> None:
        self._orders[order.key] = order
        self._queue.add(order.key, order.kind, order.priority, order.created_us)

    def drop(self, key: str) -> bool:
        """Whether it waited; it will never start."""
        self._queue.remove(key)
        self._unleased.discard(key)
        return self._orders.pop(key, None) is not None

    def renew(self, key: str, lease_end_us: int, start_before_us: int) -> None:
        order = self._orders.get(key)
        if order is None:
            return
        order.lease_end_us = lease_end_us
        order.start_before_us = start_before_us
        if key in self._unleased:
            self._unleased.discard(key)
            self._queue.add(key, order.kind, order.priority, order.created_us)

    def next_batch(self, now_us: int) -> list[Order]:
        """All that may start now, in order; each holds a slot and waits no more."""
        batch: list[Order] = []
        if now_us < self._paused_until_us:
            return batch
        while (key := self._queue.pop()) is not None:
            order = self._orders[key]
            if order.may_start(now_us):
                del self._orders[key]
                batch.append(order)
            else:
                self._queue.release(order.kind)
                self._unleased.add(key)
        return batch

    def put_back(self, orders: list[Order], now_us: int) -> None:
        """The machine is short of something: these wait again, and nothing starts for a moment."""
        for order in orders:
            self._queue.release(order.kind)
            self.add(order)
        self._paused_until_us = now_us + _RETRY_US

    def ended(self, order: Order) -> None:
        """Its slot is free, and perhaps what the machine was short of."""
        self._queue.release(order.kind)
        self._paused_until_us = 0

    def next_us(self) -> int:
        """When to try again after put_back(), on the boot clock."""
        return self._paused_until_us if self._paused_until_us and len(self._queue) else NEVER
