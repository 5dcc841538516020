"""Every key of the console, in one table. Bindings, help, footer, palette and the documentation come from it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from textual.binding import Binding


class KeyConflict(Exception):
    """Two actions of one place on one key."""


@dataclass(frozen=True)
class Key:
    """One action and its keys, as Textual names them. `place` is where it works; `app` is everywhere."""

    place: str
    keys: tuple[str, ...]
    action: str
    label: str
    """One or two words for the footer."""
    help: str
    """One sentence."""
    changes: bool = False
    """Whether it changes the cluster; then it opens a preview and does nothing itself."""
    footer: bool = False
    palette: bool = True


# Not used, for they break over SSH, in tmux or are other keys' control codes.
FORBIDDEN = frozenset(
    {"ctrl+s", "ctrl+q", "ctrl+h", "ctrl+i", "ctrl+j", "ctrl+m", "ctrl+space", "ctrl+at"}
    | {f"f{number}" for number in range(1, 25)}
)


@dataclass(frozen=True)
class Place:
    """Where keys work. A screen's keys and those of every widget that can be focused on it must not meet."""

    title: str
    widgets: tuple[str, ...] = ()
    everywhere: bool = True
    """Whether the keys of `app` work here too; not in dialogs."""


PLACES: dict[str, Place] = {
    "app": Place("Everywhere"),
    "table": Place("Tables"),
    "output": Place("Output"),
    "nodes": Place("Nodes", ("table",)),
    "queue": Place("Queue", ("table",)),
    "letters": Place("Dead letters", ("table",)),
    "events": Place("Events", ("table",)),
    "task": Place("Task", ("table", "output")),
    "node": Place("Node", ("table", "output")),
    "preview": Place("Preview", ("choice", "output"), everywhere=False),
    "help": Place("Help", ("output",), everywhere=False),
    "choice": Place("Buttons", everywhere=False),
}

KEYMAP: tuple[Key, ...] = (
    Key("app", ("question_mark",), "help", "help", "Show all keys of this view."),
    Key("app", ("1",), "view('nodes')", "nodes", "Go to the nodes."),
    Key("app", ("2",), "view('queue')", "queue", "Go to the queue."),
    Key("app", ("4",), "view('letters')", "dead letters", "Go to the dead letters."),
    Key("app", ("5",), "view('events')", "events", "Go to the events."),
    Key("app", ("minus",), "last_view", "last view", "Go back to the view before this one."),
    Key("app", ("slash",), "filter", "filter", "Show only the rows that match."),
    Key("app", ("escape",), "step_back", "back", "Clear marks, then the filter, then leave.", palette=False),
    Key("app", ("q",), "close", "back", "Leave this screen.", palette=False),
    Key("app", ("Q", "ctrl+c"), "quit", "quit", "Close the console; the cluster goes on."),
    Key("app", ("R",), "read_only", "read-only", "Read-only on or off."),
    Key("app", ("S",), "submit", "submit", "Submit a task.", changes=True),
    Key("app", ("ctrl+p",), "palette", "palette", "Find an action by name.", palette=False),
    Key("app", ("ctrl+l",), "redraw", "redraw", "Paint the whole screen again."),
    Key("app", ("T",), "theme", "theme", "Go to the next theme."),
    Key("table", ("j", "down"), "down", "down", "One row down.", palette=False),
    Key("table", ("k", "up"), "up", "up", "One row up.", palette=False),
    Key("table", ("g", "home"), "top", "top", "To the first row, and stay there.", palette=False),
    Key("table", ("G", "end"), "bottom", "bottom", "To the last row.", palette=False),
    Key("table", ("ctrl+d",), "half_down", "half down", "Half a page down.", palette=False),
    Key("table", ("ctrl+u",), "half_up", "half up", "Half a page up.", palette=False),
    Key("table", ("pagedown", "ctrl+f"), "page_down", "page down", "One page down.", palette=False),
    Key("table", ("pageup", "ctrl+b"), "page_up", "page up", "One page up.", palette=False),
    Key("table", ("h", "left"), "left", "left", "Scroll to the left.", palette=False),
    Key("table", ("l", "right"), "right", "right", "Scroll to the right.", palette=False),
    Key("table", ("n",), "next_match", "next", "To the next row that matches.", palette=False),
    Key("table", ("N",), "previous_match", "previous", "To the row before that matches.", palette=False),
    Key("table", ("space",), "mark", "mark", "Mark the row, for actions on several.", palette=False),
    Key("table", ("asterisk",), "mark_all", "mark all", "Mark every row that is listed."),
    Key("table", ("U",), "unmark", "unmark", "Unmark all rows."),
    Key("table", ("s",), "sort", "sort", "Sort by a column; the same again inverts."),
    Key(
        "table",
        ("less_than_sign",),
        "sort_column(-1)",
        "sort left",
        "Sort by the column to the left.",
        palette=False,
    ),
    Key(
        "table",
        ("greater_than_sign",),
        "sort_column(1)",
        "sort right",
        "Sort by the column to the right.",
        palette=False,
    ),
    Key("table", ("I",), "invert", "invert", "Invert the order."),
    Key("table", ("w",), "wide", "wide", "All columns, at full width; h l scroll."),
    Key("table", ("enter",), "open", "open", "Open the row.", footer=True, palette=False),
    Key("output", ("j", "down"), "down", "down", "One line down.", palette=False),
    Key("output", ("k", "up"), "up", "up", "One line up.", palette=False),
    Key("output", ("g", "home"), "top", "top", "To the first line.", palette=False),
    Key("output", ("G", "end"), "bottom", "bottom", "To the end, and follow it.", palette=False),
    Key("output", ("ctrl+d",), "half_down", "half down", "Half a page down.", palette=False),
    Key("output", ("ctrl+u",), "half_up", "half up", "Half a page up.", palette=False),
    Key("output", ("pagedown", "ctrl+f"), "page_down", "page down", "One page down.", palette=False),
    Key("output", ("pageup", "ctrl+b"), "page_up", "page up", "One page up.", palette=False),
    Key("output", ("h", "left"), "left", "left", "Scroll to the left.", palette=False),
    Key("output", ("l", "right"), "right", "right", "Scroll to the right.", palette=False),
    Key("output", ("n",), "next_match", "next", "To the next line that matches.", palette=False),
    Key("output", ("N",), "previous_match", "previous", "To the line before that matches.", palette=False),
    Key("nodes", ("c",), "cordon", "cordon", "Give the node no new tasks.", changes=True, footer=True),
    Key("nodes", ("C",), "uncordon", "uncordon", "Give the node new tasks again.", changes=True, footer=True),
    Key("nodes", ("e",), "events_of", "events", "Show the events of this node.", footer=True),
    Key("queue", ("K",), "cancel", "cancel", "Cancel the tasks.", changes=True, footer=True),
    Key("queue", ("r",), "retry", "retry", "Queue ended tasks again.", changes=True, footer=True),
    Key("queue", ("o",), "output_of", "output", "Show the output of this task.", footer=True),
    Key("queue", ("e",), "events_of", "events", "Show the events of this task."),
    Key("letters", ("r",), "retry", "retry", "Queue the dead letters again.", changes=True, footer=True),
    Key("letters", ("o",), "output_of", "output", "Show the output of this task.", footer=True),
    Key("letters", ("e",), "events_of", "events", "Show the events of this task.", footer=True),
    Key("nodes", ("F",), "follow", "follow", "Stay on the first row."),
    Key("queue", ("F",), "follow", "follow", "Stay on the first row."),
    Key("letters", ("F",), "follow", "follow", "Stay on the newest letter."),
    Key("events", ("F",), "follow", "follow", "Stay on the newest event.", footer=True),
    Key("task", ("tab",), "next_pane", "next pane", "Go to the next pane.", palette=False),
    Key("task", ("o",), "pane('output')", "output", "Show the output.", footer=True),
    Key("task", ("e",), "pane('events')", "events", "Show the events.", footer=True),
    Key("task", ("d",), "pane('facts')", "details", "Show specification and placement.", footer=True),
    Key("task", ("F",), "follow", "follow", "Follow the end of the output.", footer=True),
    Key("task", ("K",), "cancel", "cancel", "Cancel the task.", changes=True, footer=True),
    Key("task", ("r",), "retry", "retry", "Queue the ended task again.", changes=True, footer=True),
    Key("node", ("tab",), "next_pane", "next pane", "Go to the next pane.", palette=False),
    Key("node", ("c",), "cordon", "cordon", "Give the node no new tasks.", changes=True, footer=True),
    Key("node", ("C",), "uncordon", "uncordon", "Give the node new tasks again.", changes=True, footer=True),
    Key("node", ("d",), "pane('facts')", "details", "Show resources and what was declared."),
    Key("node", ("e",), "pane('events')", "events", "Show the events.", footer=True),
    Key("node", ("t",), "pane('tasks')", "tasks", "Show the tasks here.", footer=True),
    Key("preview", ("y",), "confirm", "do it", "Do what is listed.", palette=False),
    Key("preview", ("q", "escape"), "give_up", "do nothing", "Leave everything as it is.", palette=False),
    Key("help", ("question_mark", "q", "escape"), "give_up", "close", "Close the help.", palette=False),
    Key("choice", ("enter", "space"), "press", "press", "Press the button that has the focus.", palette=False),
)


def keys_at(place: str, table: Iterable[Key] = KEYMAP) -> list[Key]:
    return [key for key in table if key.place == place]


def reachable(place: str, table: Sequence[Key] = KEYMAP) -> list[Key]:
    """Every key that works at a place: its own, its widgets' and those of everywhere; an action once."""
    spot = PLACES[place]
    places = (place, *spot.widgets, *(("app",) if spot.everywhere else ()))
    found: dict[str, Key] = {}
    for name in places:
        for key in keys_at(name, table):
            found.setdefault(key.action, key)
    return list(found.values())


def bindings(place: str) -> list[Binding | tuple[str, str] | tuple[str, str, str]]:
    """The place's keys as Textual wants them."""
    return [
        Binding(",".join(key.keys), key.action, key.help, show=False, priority=key.action == "quit")
        for key in keys_at(place)
    ]


def check(table: Sequence[Key] = KEYMAP) -> None:
    """Raise KeyConflict when a key means two things at once, or must not be used at all."""
    for key in table:
        if key.place not in PLACES:
            raise KeyConflict(f"{key.action}: there is no place {key.place}")
        for name in key.keys:
            if name in FORBIDDEN or name.startswith("alt+"):
                raise KeyConflict(f"{key.place} {key.action}: {name} does not work everywhere")
    for place, spot in PLACES.items():
        screen = keys_at(place, table)
        if spot.everywhere and place != "app":
            screen = screen + keys_at("app", table)
        _unique(place, screen)
        for widget in spot.widgets:
            _unique(place, screen + keys_at(widget, table))


def _unique(place: str, keys: Sequence[Key]) -> None:
    taken: dict[str, Key] = {}
    for key in keys:
        for name in key.keys:
            if (other := taken.setdefault(name, key)) is not key:
                raise KeyConflict(f"{place}: {name} is both {other.action} and {key.action}")


_NAMES = {
    "question_mark": "?",
    "slash": "/",
    "minus": "-",
    "escape": "esc",
    "space": "space",
    "asterisk": "*",
    "less_than_sign": "<",
    "greater_than_sign": ">",
    "pagedown": "pgdn",
    "pageup": "pgup",
}


def shown(name: str) -> str:
    """A key as people write it."""
    return _NAMES.get(name, name.replace("ctrl+", "ctrl-"))


def shown_keys(key: Key) -> str:
    return " ".join(shown(name) for name in key.keys)


check()
