"""The events table has a word of its own for each type of event, and says what an event is about."""

from __future__ import annotations

from cortex.v1 import types_pb2
from tui.columns.events import EVENT_WORDS, EVENTS, about
from tui.drawing.draw import ASCII, UNICODE

KINDS = [kind for kind in types_pb2.EventType.values() if kind]
WIDTH = next(column.width for column in EVENTS.columns if column.id == "type")


def test_every_type_has_a_word_that_fits() -> None:
    assert set(EVENT_WORDS) == set(KINDS)
    words = [word for word, _, _ in EVENT_WORDS.values()]
    assert len(set(words)) == len(words)
    assert [word for word in words if len(word) + 2 > WIDTH] == []


def test_every_type_has_a_glyph() -> None:
    for glyphs in (UNICODE, ASCII):
        assert [word for word, glyph, _ in EVENT_WORDS.values() if glyphs.of(glyph) == "?"] == []


def test_an_event_of_a_workflow_names_it() -> None:
    ended = types_pb2.Event(workflow="w1", workflow_state=types_pb2.WORKFLOW_STATE_FAILED)
    assert about(ended) == "w1"
    assert about(types_pb2.Event(workflow="w1", task="w1.0")) == "w1.0"
    assert about(types_pb2.Event(node="n1")) == ""
