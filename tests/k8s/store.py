"""The objects of a cluster with their versions and history, as etcd keeps them behind an API server."""

from __future__ import annotations

import copy
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")
Thing = dict[str, Any]
PATIENCE_S = 60.0


def now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


@dataclass
class Change:
    version: int
    resource: str
    kind: str
    thing: Thing


@dataclass
class Store:
    """Threads share it; `changed` is told after every change of anything."""

    things: dict[tuple[str, str, str], Thing] = field(default_factory=dict)
    history: list[Change] = field(default_factory=list)
    version: int = 100
    floor: int = 0
    """History up to here is compacted away."""
    changed: threading.Condition = field(default_factory=threading.Condition)

    def put(self, resource: str, thing: Thing) -> Thing:
        """Add or replace it; returns what is kept."""
        with self.changed:
            thing = copy.deepcopy(thing)
            metadata = thing.setdefault("metadata", {})
            key = resource, metadata.get("namespace", ""), metadata["name"]
            kind = "MODIFIED" if key in self.things else "ADDED"
            metadata.setdefault("uid", str(uuid.uuid4()))
            metadata.setdefault("creationTimestamp", now())
            self._note(resource, kind, thing)
            self.things[key] = thing
            return thing

    def edit(self, resource: str, namespace: str, name: str, edit: Callable[[Thing], object]) -> Thing:
        with self.changed:
            thing = copy.deepcopy(self.things[resource, namespace, name])
            edit(thing)
            return self.put(resource, thing)

    def delete(self, resource: str, namespace: str, name: str) -> None:
        with self.changed:
            thing = self.things.pop((resource, namespace, name), None)
            if thing is not None:
                self._note(resource, "DELETED", copy.deepcopy(thing))

    def bookmark(self, resource: str) -> int:
        """Say how far the history is, with nothing else new."""
        with self.changed:
            self.version += 1
            mark = {"metadata": {"resourceVersion": str(self.version)}}
            self.history.append(Change(self.version, resource, "BOOKMARK", mark))
            self.changed.notify_all()
            return self.version

    def compact(self) -> None:
        """Versions up to now can be watched from no more."""
        with self.changed:
            self.version += 1
            self.floor = self.version
            self.history.clear()
            self.changed.notify_all()

    def get(self, resource: str, namespace: str, name: str) -> Thing | None:
        with self.changed:
            return copy.deepcopy(self.things.get((resource, namespace, name)))

    def all(self, resource: str, namespace: str = "") -> list[Thing]:
        with self.changed:
            return [
                copy.deepcopy(thing)
                for (kind, place, _), thing in sorted(self.things.items())
                if kind == resource and namespace in ("", place)
            ]

    def wait(self, look: Callable[[], T | None], patience_s: float = PATIENCE_S) -> T:
        """The first answer that is not None or false, asked after every change."""
        until_s = time.monotonic() + patience_s
        with self.changed:
            while not (found := look()):
                assert self.changed.wait(until_s - time.monotonic()), "it never came"
            return found

    def tell(self) -> None:
        with self.changed:
            self.changed.notify_all()

    def _note(self, resource: str, kind: str, thing: Thing) -> None:
        self.version += 1
        thing["metadata"]["resourceVersion"] = str(self.version)
        self.history.append(Change(self.version, resource, kind, copy.deepcopy(thing)))
        self.changed.notify_all()


def matches(thing: Thing, labels: str, fields: str) -> bool:
    """Whether both selectors choose it."""
    own = thing["metadata"].get("labels") or {}
    for part in filter(None, labels.split(",")):
        key, differs, value = part.partition("!=") if "!=" in part else part.partition("=")
        if (own.get(key) == value) is (differs == "!="):
            return False
    for part in filter(None, fields.split(",")):
        path, _, value = part.partition("=")
        found: Any = thing
        for step in path.split("."):
            found = (found or {}).get(step)
        if found != value:
            return False
    return True
