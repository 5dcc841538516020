"""What the words of the command line do, and the values that can follow them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from tui.keyboard.cmdline import CommandError, History, Word, completions, find, split, words
from tui.keyboard.keys import Key
from tui.lists.grammar import FilterError
from tui.lists.rows import Rows
from tui.past.moments import MomentError
from tui.shell import Shell
from tui.widgets.table import Table

MAX_VALUES = 1000


class Commanded(Shell, Protocol):
    """The console, as far as the command line needs it."""

    @property
    def place(self) -> str:
        """Of the shown screen."""
        ...

    def table(self) -> Table[Any] | None: ...

    def theme_names(self) -> Sequence[str]: ...

    def use_theme(self, name: str) -> None: ...

    def export(self, path: Path) -> None: ...

    def perform(self, key: Key) -> None: ...

    def travel_to(self, text: str) -> None:
        """Show a past moment. Raises MomentError."""
        ...

    def saved_names(self) -> Sequence[str]: ...

    def save_view(self, name: str) -> None: ...

    def load_view(self, name: str) -> None: ...

    def forget_view(self, name: str) -> None: ...

    def context_names(self) -> Sequence[str]: ...

    def use_context(self, name: str) -> None: ...


class Commands:
    """One console's command line."""

    def __init__(self, console: Commanded) -> None:
        self._console = console
        self.history = History()
        self._runs: Mapping[str, Callable[[str], None]] = {
            "node": lambda text: console.open_node(self._node(text)),
            "task": lambda text: console.open_task(self._task(text)),
            "workflow": lambda text: console.open_workflow(self._workflow(text)),
            "why": lambda text: console.open_why(self._task(text)),
            "output": lambda text: console.open_task(self._task(text), "output"),
            "filter": self._filter,
            "sort": self._sort,
            "theme": self._theme,
            "at": self._at,
            "export": self._export,
            "cordon": lambda text: console.actions.cordon([self._node(text)]),
            "uncordon": lambda text: console.actions.uncordon([self._node(text)]),
            "drain": lambda text: console.actions.drain([self._node(text)]),
            "remove": lambda text: console.actions.remove([self._node(text)]),
            "cancel": lambda text: console.actions.cancel([self._task(text)]),
            "retry": lambda text: console.actions.retry([self._task(text)]),
            "ctx": lambda text: console.use_context(_one_of(text, console.context_names(), "cluster")),
            "save": lambda text: console.save_view(text),
            "load": lambda text: console.load_view(_one_of(text, console.saved_names(), "saved arrangement")),
            "forget": lambda text: console.forget_view(_one_of(text, console.saved_names(), "saved arrangement")),
        }

    def words(self) -> dict[str, Word]:
        several = len(self._console.context_names()) > 1
        return words(self._console.place, self._console.key_table, contexts=several)

    def run(self, text: str) -> None:
        """Do what the line says, or say what is wrong with it."""
        if not text.strip().removeprefix(":").strip():
            return
        try:
            word, argument = find(text, self.words())
            if argument:
                self._runs[word.name](argument)
            elif word.key is not None:
                self._press(word.key)
        except (CommandError, FilterError) as error:
            self._console.say(f"{error}", "warn")

    def hint(self, text: str) -> str:
        """What the line would do, or how it may go on."""
        known = self.words()
        try:
            word, argument = find(text, known)
        except CommandError:
            if (known_word := known.get(split(text)[0])) is not None:
                return f"{known_word.usage}  {known_word.help}"
            offered = completions(text, known, lambda _kind: ())
            return "  ".join(offered) if offered and " " not in text.strip() else ""
        return f"{word.usage}  {word.help}" if argument or word.name == text.strip() else ""

    def complete(self, text: str) -> Sequence[str]:
        return completions(text, self.words(), self._values)

    def _press(self, key: Key) -> None:
        if self._console.read_only and key.changes:
            said = f"Read-only: {self._console.drawing().word('app', 'read_only')} turns it off."
            raise CommandError(said)
        self._console.perform(key)

    def _values(self, kind: str) -> Iterable[str]:
        console, table = self._console, self._console.table()
        match kind:
            case "node":
                return sorted(row.node.id for row in console.view.nodes.values())
            case "task":
                return _keys(table, console.view.tasks)
            case "workflow":
                return _keys(table, console.view.workflows)
            case "filter":
                return sorted(field.name for field in table.spec.fields) if table is not None else ()
            case "column":
                return [column.id for column in table.spec.sortable] if table is not None else ()
            case "theme":
                return console.theme_names()
            case "context":
                return console.context_names()
            case "saved":
                return console.saved_names()
        return ()

    def _node(self, text: str) -> str:
        return _found(text, self._console.view.nodes, "node", lambda row: row.node.hostname)

    def _task(self, text: str) -> str:
        return _found(text, self._console.view.tasks, "task", lambda row: row.name)

    def _workflow(self, text: str) -> str:
        return _found(text, self._console.view.workflows, "workflow", lambda row: row.name)

    def _filter(self, text: str) -> None:
        self._table().apply_filter(text)

    def _sort(self, text: str) -> None:
        table = self._table()
        known = {column.id: column for column in table.spec.sortable}
        column = known[_one_of(text, list(known), "column")]
        same = column is table.sort_column
        table.sort_by(column, not table.listing.descending if same else column.descending)

    def _theme(self, text: str) -> None:
        self._console.use_theme(_one_of(text, self._console.theme_names(), "theme"))

    def _at(self, text: str) -> None:
        try:
            self._console.travel_to(text)
        except MomentError as error:
            raise CommandError(f"{error.message} {error.remedy}") from None

    def _export(self, text: str) -> None:
        self._console.export(Path(text).expanduser())

    def _table(self) -> Table[Any]:
        table = self._console.table()
        if table is None:
            raise CommandError("There is no table here. Go to one first, as with :queue.")
        return table


def _keys(table: Table[Any] | None, rows: Rows[Any]) -> Iterable[str]:
    """Those that are listed first: likely one of them is meant."""
    listed = [key for key in table.listing.keys() if key in rows] if table is not None else []  # noqa: SIM118
    return dict.fromkeys((*listed, *(rows.keys[slot] for slot in rows.slots())))


def _found(text: str, rows: Rows[Any], kind: str, name_of: Callable[[Any], str]) -> str:
    """Key of the one row that is meant: by its key, the begin of it, or its name. Raises CommandError."""
    if text in rows:
        return text
    keys = [rows.keys[slot] for slot in rows.slots()]
    found = [key for key in keys if key.startswith(text)] or [
        key for key in keys if (row := rows.get(key)) is not None and name_of(row) == text
    ]
    if len(found) == 1:
        return found[0]
    if found:
        raise CommandError(f"{len(found):,} {kind}s are meant by {text!r}. Write more of the id.")
    raise CommandError(f"No {kind} {text!r} is known here. Tab shows those that are.")


def _one_of(text: str, known: Sequence[str], kind: str) -> str:
    if text in known:
        return text
    some = ", ".join(known[:12]) or "none yet"
    raise CommandError(f"There is no {kind} {text!r}. There are: {some}.")
