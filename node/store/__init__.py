"""The rows of the replicated state in SQLite: derived from the log, saved behind it, read as history."""

from node.store.errors import StoreDamaged, StoreError, StoreTooNew, StoreUnavailable
from node.store.events import EventPage, EventQuery
from node.store.queries import Counts, TaskPage, TaskQuery
from node.store.store import FILE, Saved, Store

__all__ = [
    "FILE",
    "Counts",
    "EventPage",
    "EventQuery",
    "Saved",
    "Store",
    "StoreDamaged",
    "StoreError",
    "StoreTooNew",
    "StoreUnavailable",
    "TaskPage",
    "TaskQuery",
]
