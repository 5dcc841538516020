"""What widgets tell screens. Bursts coalesce: only the last of its kind is handled."""

from __future__ import annotations

from textual.message import Message
from textual.widget import Widget


class Pointed(Message):
    """The cursor of a table is on another row."""

    def __init__(self, table: Widget, key: str) -> None:
        super().__init__()
        self.table = table
        self.key = key

    def can_replace(self, message: Message) -> bool:
        return isinstance(message, Pointed) and message.table is self.table


class Opened(Message):
    """Enter on a row."""

    def __init__(self, table: Widget, key: str) -> None:
        super().__init__()
        self.table = table
        self.key = key


class SortAsked(Message):
    """The operator wants to choose the column a table is sorted by."""

    def __init__(self, table: Widget) -> None:
        super().__init__()
        self.table = table


class FilterChanged(Message):
    """The text of the filter bar; `done` when it was accepted, `cleared` when it was given up."""

    def __init__(self, text: str, *, done: bool = False, cleared: bool = False) -> None:
        super().__init__()
        self.text = text
        self.done = done
        self.cleared = cleared

    def can_replace(self, message: Message) -> bool:
        return isinstance(message, FilterChanged) and not message.done and not message.cleared


class FollowChanged(Message):
    """An output pane began or ceased to follow the end."""

    def __init__(self, following: bool) -> None:
        super().__init__()
        self.following = following

    def can_replace(self, message: Message) -> bool:
        return isinstance(message, FollowChanged)


class CommandTyped(Message):
    """The text of the command line, while it is written."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text

    def can_replace(self, message: Message) -> bool:
        return isinstance(message, CommandTyped)


class CommandGiven(Message):
    """A line of the command line was accepted."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text


class CommandClosed(Message):
    """The command line was given up."""


class PasteShortened(Message):
    """A line took less than was pasted; `text` says so. What the line's new text leads to is handled before."""

    def __init__(self, text: str, *, relayed: bool = False) -> None:
        super().__init__()
        self.text = text
        self.relayed = relayed
