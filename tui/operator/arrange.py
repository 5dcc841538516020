"""How a view is arranged: filter, sort, columns; and what is kept of it, per cluster. No Textual here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tui.operator.keep import Keep, KeepError

MAX_SAVED = 100
MAX_NAME = 64
MAX_FILTER = 4096


@dataclass(frozen=True)
class Columns:
    """Ids of columns that are hidden, and of those that stay however narrow it is."""

    hidden: frozenset[str] = frozenset()
    pinned: frozenset[str] = frozenset()

    def toggled(self, name: str) -> Columns:
        if name in self.hidden:
            return Columns(self.hidden - {name}, self.pinned | {name})
        return Columns(self.hidden | {name}, self.pinned - {name})


@dataclass(frozen=True)
class Arrangement:
    """Of one table. An empty sort is the table's own."""

    filter: str = ""
    sort: str = ""
    descending: bool = False
    wide: bool = False
    columns: Columns = field(default_factory=Columns)

    def document(self) -> dict[str, Any]:
        """As it stands in a file."""
        return {
            "filter": self.filter,
            "sort": self.sort,
            "descending": self.descending,
            "wide": self.wide,
            "hidden": sorted(self.columns.hidden),
            "pinned": sorted(self.columns.pinned),
        }


def arrangement(document: object) -> Arrangement | None:
    """What a file says; None when that is no arrangement."""
    if not isinstance(document, Mapping):
        return None
    said, sort = document.get("filter", ""), document.get("sort", "")
    hidden, pinned = document.get("hidden", []), document.get("pinned", [])
    good = isinstance(said, str) and len(said) <= MAX_FILTER and isinstance(sort, str)
    for names in (hidden, pinned):
        good = good and isinstance(names, list) and all(isinstance(name, str) for name in names)
    if not good:
        return None
    return Arrangement(
        said,
        sort,
        document.get("descending") is True,
        document.get("wide") is True,
        Columns(frozenset(hidden), frozenset(pinned)),
    )


class Arrangements:
    """Those of one cluster: how each view was left, and what was saved by name. Written when flushed."""

    def __init__(self, keep: Keep) -> None:
        self._keep = keep
        self._views: dict[str, Arrangement] = {}
        self._saved: dict[str, dict[str, Arrangement]] = {}
        self._dirty = False
        self.problem = ""
        """What was wrong with the file, for the operator; empty when nothing was."""
        try:
            document = keep.read(keep.views)
        except KeepError as error:
            self.problem = str(error)
            return
        views, saved = document.get("views"), document.get("saved")
        self._views = _all_good(views)
        if isinstance(saved, Mapping):
            self._saved = {str(view): _all_good(named) for view, named in saved.items()}

    def of(self, view: str) -> Arrangement | None:
        return self._views.get(view)

    def remember(self, view: str, now: Arrangement) -> None:
        """How a view is arranged just now."""
        if self._views.get(view, Arrangement()) != now:
            self._views[view] = now
            self._dirty = True

    def names(self, view: str) -> list[str]:
        return sorted(self._saved.get(view, {}))

    def save(self, view: str, name: str, now: Arrangement) -> str:
        """Keeps it under a name; returns what is wrong, empty when nothing is."""
        named = self._saved.setdefault(view, {})
        if not name.isprintable() or not 0 < len(name) <= MAX_NAME:
            return f"A name has 1 to {MAX_NAME} visible characters. Choose another."
        if name not in named and len(named) >= MAX_SAVED:
            return f"{MAX_SAVED} arrangements of this view are saved already. Forget one with :forget."
        named[name] = now
        self._dirty = True
        return ""

    def saved(self, view: str, name: str) -> Arrangement:
        return self._saved[view][name]

    def forget(self, view: str, name: str) -> None:
        del self._saved[view][name]
        self._dirty = True

    def flush(self) -> None:
        """Write what changed. Raises KeepError, once for a change."""
        if not self._dirty:
            return
        self._dirty = False
        self._keep.write(
            self._keep.views,
            {
                "views": {view: each.document() for view, each in self._views.items()},
                "saved": {
                    view: {name: each.document() for name, each in named.items()}
                    for view, named in self._saved.items()
                    if named
                },
            },
        )


def _all_good(document: object) -> dict[str, Arrangement]:
    if not isinstance(document, Mapping):
        return {}
    found = {str(name): arrangement(each) for name, each in document.items()}
    return {name: each for name, each in list(found.items())[:MAX_SAVED] if each is not None}
