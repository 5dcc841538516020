"""What was edited of a task that is retried fits the lines of a preview."""

from __future__ import annotations

from cortex.v1 import types_pb2
from tests.tui import fake
from tui.columns.base import Draw
from tui.drawing.draw import UNICODE, cell_width
from tui.plans.letters import PIECE, edited_retry
from tui.store.view import ClusterView


def test_a_difference_of_wide_characters_is_cut_by_its_cells() -> None:
    view = ClusterView()
    task = fake.task(1, "render", fake.DEAD, ended_s=0.5)
    view.put_task(task)
    text = "+" + "世界" * PIECE
    _, *lines = edited_retry(Draw(0, 0.0, UNICODE, view), task.id, types_pb2.TaskSpec(), [text, "+"]).objects
    assert max(cell_width(line) for line in lines) <= PIECE + len("  +")
    said = ["".join(span[0] for span in line) for line in lines]
    assert "".join(line[3:] for line in said) == text[1:]
    assert said[-1] == "  +", "an empty line"
