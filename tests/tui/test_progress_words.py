"""How far a task is, in words."""

from __future__ import annotations

import pytest

from cortex.v1.types_pb2 import TaskProgress
from tui.store.progress import worded


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (TaskProgress(current=3, total=10, message="files"), "3 of 10 (30 %): files"),
        (TaskProgress(current=3), "3"),
        (TaskProgress(total=10, message="begins"), "0 of 10 (0 %): begins"),
        (TaskProgress(message="Unschedulable"), "Unschedulable"),
        (TaskProgress(), "0"),
    ],
)
def test_what_is_not_counted_has_no_number(told: TaskProgress, words: str) -> None:
    assert worded(told) == words
