"""How a task that tells how far it is looks, in the queue, in its details and on a line."""

from __future__ import annotations

import pytest

from cortex.v1 import cluster_pb2
from cortex.v1 import types_pb2 as types
from tui.columns.base import Draw
from tui.columns.tasks import QUEUE
from tui.details.task import task_facts
from tui.documents import json_view
from tui.drawing.draw import ASCII, plain
from tui.store.progress import LiveProgress, worded
from tui.store.view import ClusterView

AT_US = 1_700_000_000_000_000
RUNNING = types.TASK_STATE_RUNNING


def task(state: types.TaskState.ValueType = RUNNING, fence: int = 7) -> types.Task:
    return types.Task(id="t1", state=state, fence=fence, spec=types.TaskSpec(type=types.TASK_TYPE_PYTHON))


def told(current: int = 3, total: int = 12, message: str = "sky") -> types.TaskProgress:
    return types.TaskProgress(task="t1", fence=7, current=current, total=total, message=message, at_us=AT_US)


def why(view: ClusterView, width: int = 40) -> str:
    return plain(QUEUE.column("why").draw(task(), Draw(AT_US, 0.0, ASCII, view), width))


@pytest.mark.parametrize(
    ("item", "words"),
    [
        (told(), "3 of 12 (25 %): sky"),
        (told(total=0), "3: sky"),
        (told(message=""), "3 of 12 (25 %)"),
        (told(current=15), "15 of 12 (100 %): sky"),
    ],
)
def test_words(item: types.TaskProgress, words: str) -> None:
    assert worded(item) == words


def test_the_queue_draws_it_and_draws_it_anew() -> None:
    view = ClusterView()
    view.put_task(task())
    assert why(view) == ""
    before = QUEUE.around(Draw(AT_US, 0.0, ASCII, view))
    view.fold(cluster_pb2.WatchReply(progress=[told()]), 1.0)
    assert QUEUE.around(Draw(AT_US, 0.0, ASCII, view)) != before
    assert why(view).endswith(" 3 of 12 (25 %): sky")
    assert len(why(view)) == 10 + len(" 3 of 12 (25 %): sky")
    view.fold(cluster_pb2.WatchReply(progress=[told(total=0)]), 2.0)
    assert why(view) == "3: sky"


def test_the_details_say_how_old_it_is() -> None:
    view = ClusterView()
    view.progress.fold([told()])
    draw = Draw(AT_US + 4_000_000, 0.0, ASCII, view)
    line = plain(task_facts(task(), [], cluster_pb2.WhyReply(), draw, 80)[0])
    assert line.split()[0] == "progress"
    assert line.endswith(" 3 of 12 (25 %): sky   4s ago")


@pytest.mark.parametrize("ended", [task(types.TASK_STATE_COMPLETED), task(types.TASK_STATE_QUEUED), task(fence=8)])
def test_it_goes_with_its_attempt(ended: types.Task) -> None:
    known = LiveProgress()
    known.fold([told()])
    assert known.of(task()) is not None
    assert known.of(ended) is None
    version = known.version
    known.seen(ended)
    assert known.version > version
    assert known.of(task()) is None


def test_scripts_read_it() -> None:
    assert json_view.task(task())["progress"] is None
    document = {"current": 3, "total": 12, "message": "sky", "at": "2023-11-14T22:13:20.000000Z"}
    assert json_view.task(task(), told=told())["progress"] == document
    bare = types.TaskProgress(task="t1", current=3)
    assert json_view.progress(bare) == {"current": 3, "total": None, "message": None, "at": None}
