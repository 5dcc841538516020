"""The table of a DAG: without columns to sort by, for its order is the drawing's."""

from __future__ import annotations

from typing import TypeVar

from tui.keymap import bindings
from tui.widgets.table import Table

R = TypeVar("R")


class DagTable(Table[R], inherit_bindings=False):
    """`h` and `l` are the screen's: they follow edges."""

    BINDINGS = bindings("dag_rows")
