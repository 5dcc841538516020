"""A recording shows what the console showed, changes nothing, and has no secrets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cortex.v1 import types_pb2
from tests.tui import fake
from tests.tui.console import open_console
from tests.tui.fake_source import FakeSource
from tui.errors import ClusterError
from tui.replay.recording import MAGIC, RecordedSource, Recording, ReplayedSource, records
from tui.source import SourceError, Timed


async def recorded(path: Path) -> list[str]:
    """Records a console in its queue; what that showed."""
    source = FakeSource()
    recording = Recording(path)
    wrapped: Any = RecordedSource(source, recording)
    async with open_console(wrapped) as session:
        task = fake.task(77, "later", fake.RUNNING, started_s=1, index=7000)
        task.spec.env.append(types_pb2.EnvVar(name=b"TOKEN", value=b"hunter2"))
        source.push(task)
        await session.press("2")
        recording.close()
        return session.lines


async def test_a_recording_shows_the_same(tmp_path: Path) -> None:
    path = tmp_path / "night.rec"
    shown = await recorded(path)
    assert b"hunter2" not in path.read_bytes()
    assert b"TOKEN" in path.read_bytes()
    played: Any = ReplayedSource(path, speed=1000.0)
    played.history_asked, played.waiting = True, 0
    assert not isinstance(played, Timed), "it has no clock of its own, but answers for every call"
    async with open_console(played, read_only=True) as session:
        await session.press("2")
        await session.until(lambda: "The recording ends here" in session.text)
        assert any("later" in line for line in shown)
        assert "later" in session.text
        assert "thumbs" in session.text
        await session.press("K")
        assert "esc  do nothing" not in session.text
        with pytest.raises(SourceError, match="cannot be changed"):
            played.mutator()


async def test_a_torn_end_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "night.rec"
    await recorded(path)
    whole = list(records(path))
    path.write_bytes(path.read_bytes()[:-3])
    assert list(records(path)) == whole[:-1]


def test_files_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with pytest.raises(ClusterError, match="cannot be read"):
        ReplayedSource(path)
    path.write_bytes(b"GIF89a..")
    with pytest.raises(ClusterError, match="not a recording"):
        ReplayedSource(path)
    with pytest.raises(ClusterError, match="cannot be written"):
        Recording(path)
    path.write_bytes(MAGIC)
    assert list(records(path)) == []
