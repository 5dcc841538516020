"""What is not the same at two moments, one line per field."""

from __future__ import annotations

from dataclasses import dataclass

from cortex.v1 import cluster_pb2
from tui.columns.base import Column, Draw, TableSpec
from tui.drawing.draw import Cell, foreign
from tui.lists.filter import Field

KINDS = {"tasks": "task", "nodes": "node", "workflows": "workflow"}


@dataclass(frozen=True)
class Difference:
    """One field of one row; empty where the row or the value was not there."""

    kind: str
    id: str
    name: str
    field: str
    was: str
    now: str
    place: int
    """In the order that the cluster answered in."""

    @property
    def key(self) -> str:
        return f"{self.place:06d}"


def differences(reply: cluster_pb2.DiffReply) -> list[Difference]:
    found: list[Difference] = []
    for row in reply.rows:
        kind = KINDS.get(row.table, row.table)
        for one in row.fields:
            found.append(Difference(kind, row.id, row.name, one.field, one.before, one.after, len(found)))
    return found


def difference_text(row: Difference) -> str:
    return "\n".join((row.kind, row.id, row.name, row.field, row.was, row.now))


def _value(text: str, role: str, draw: Draw) -> Cell:
    return foreign(text, role, draw.glyphs) if text else ((draw.glyphs.none, "dim"),)


DIFFERENCES: TableSpec[Difference] = TableSpec(
    columns=(
        Column("kind", "KIND", 8, lambda row, _d, _w: ((row.kind, "dim"),), lambda row: (row.kind, row.place)),
        Column("id", "ID", 14, lambda row, draw, _w: foreign(row.id, "strong", draw.glyphs),
               lambda row: (row.id, row.place), flex=1, most=28),
        Column("name", "NAME", 10, lambda row, draw, _w: _value(row.name, "text", draw),
               lambda row: (row.name, row.place), flex=1, most=24, rank=5),
        Column("field", "FIELD", 12, lambda row, draw, _w: foreign(row.field, "text", draw.glyphs),
               lambda row: (row.field, row.place), most=20, flex=1),
        Column("was", "WAS", 12, lambda row, draw, _w: _value(row.was, "warn", draw),
               lambda row: (row.was, row.place), flex=3),
        Column("now", "IS", 12, lambda row, draw, _w: _value(row.now, "ok", draw),
               lambda row: (row.now, row.place), flex=3),
        Column("place", "#", 5, lambda row, _d, _w: ((str(row.place + 1), "dim"),), lambda row: row.place,
               align="right", rank=9),
    ),
    sort="place",
    fields=(
        Field("kind", lambda row: row.kind),
        Field("id", lambda row: row.id),
        Field("name", lambda row: row.name),
        Field("field", lambda row: row.field),
        Field("was", lambda row: row.was),
        Field("is", lambda row: row.now),
    ),
    empty="Nothing differs.",
)  # fmt: skip
