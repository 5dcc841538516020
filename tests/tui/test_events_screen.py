"""View 5 by keys: audit, filters, earlier pages, and where enter leads."""

from __future__ import annotations

from typing import Any

import pytest

from cortex.v1 import cluster_pb2, types_pb2
from tests.tui.console import check_golden, open_console
from tests.tui.fake import NOW_US, event, sample_events
from tests.tui.fake_source import FakeSource
from tui.source import SourceError

PAGE = 1000


class PagedSource(FakeSource):
    """Has more events than fit in a page; a cursor is how many were read. `pages` are those asked for."""

    def __init__(self, count: int) -> None:
        rows = [
            event(100 + number, types_pb2.EVENT_TYPE_SUBMITTED, task_id=f"t{number}", before_s=count - number,
                  actor="alice" if number % 10 == 0 else "")
            for number in range(count)
        ]  # fmt: skip
        super().__init__([], None, rows)
        self.pages: list[tuple[bool, str]] = []
        self.refuse_page: SourceError | None = None

    async def list_events(self, **named: Any) -> cluster_pb2.ListEventsReply:
        audit, cursor, limit = named.get("audit", False), named.get("cursor", ""), named["limit"]
        self.history_asked = True
        if named.get("since_us"):
            return cluster_pb2.ListEventsReply(events=self.events[-limit:], index=self.index)
        if self.refuse_page is not None:
            raise self.refuse_page
        self.pages.append((audit, cursor))
        rows = [row for row in self.events if row.actor or not audit]
        end = len(rows) - int(cursor or 0)
        begin = max(0, end - limit)
        after = str(len(rows) - begin) if begin else ""
        return cluster_pb2.ListEventsReply(events=rows[begin:end], next_cursor=after, index=self.index)


async def test_audit_shows_who_did_what() -> None:
    rows = sample_events()
    asked = event(42, types_pb2.EVENT_TYPE_OPERATION_ENDED, detail="2 of 2 tasks", before_s=90, actor="uid:1000")
    asked.operation = "01op00000002"
    source = FakeSource()
    source.events = [*rows, asked]
    async with open_console(source, (120, 30)) as session:
        await session.press("5")
        assert "no heartbeat for 15 s" in session.text
        await session.press("a")
        assert "audit" in session.lines[1]
        assert "no heartbeat for 15 s" not in session.text
        assert "uid:1000" in session.line_with("kernel update")
        assert "01op00000002" in session.line_with("2 of 2 tasks")
        await session.press("slash", *"operation=01op00000002", "enter")
        assert "kernel update" not in session.text
        await session.press("enter")
        assert "the disk was replaced" in session.text, "the operation itself"
        await session.press("escape", "escape", "a")
        assert "no heartbeat for 15 s" in session.text


async def test_filters_by_what_an_event_names() -> None:
    async with open_console(size=(120, 30)) as session:
        await session.press("5")
        for text, shown, hidden in (
            ("type=cordoned", "kernel update", "retried"),
            ("node=elm", "no heartbeat", "kernel update"),
            ("actor=uid:1000", "kernel update", "no heartbeat"),
            ("task=01jx00000009", "retried", "no heartbeat"),
        ):
            await session.press("slash", *text, "enter")
            assert shown in session.text, text
            assert hidden not in session.text, text
            await session.press("escape")


async def test_enter_leads_to_what_it_is_about() -> None:
    async with open_console(size=(120, 30)) as session:
        await session.press("5")
        await session.press("enter")
        assert "dune" in session.lines[2]
        await session.press("escape", "slash", *"task=01jx00000009", "enter", "enter")
        assert "flaky" in session.lines[2]


async def test_earlier_pages_come_with_the_cursor() -> None:
    source = PagedSource(3500)
    async with open_console(source, (120, 30)) as session:
        await session.press("5")
        assert len(session.app.view.events) == PAGE
        assert source.pages == [], "what was loaded is not asked for again before it ends"
        await session.press("G")
        await session.until(lambda: len(session.app.view.events) > PAGE)
        for _ in range(4):
            await session.press("G")
            await session.settle()
        assert len(session.app.view.events) == 3500
        assert "more below" not in session.lines[1]
        assert [cursor for _, cursor in source.pages] == ["", "1000", "2000", "3000"]
        await session.press("a")
        assert "350" in session.lines[1]
        source.push(event(9000, types_pb2.EVENT_TYPE_NODE_JOINED, node="anvil", actor="bob"), at_us=NOW_US)
        await session.press("F")
        assert "bob" in session.lines[3]


async def test_a_page_that_cannot_be_read_is_tried_again() -> None:
    source = PagedSource(1500)
    async with open_console(source, (120, 30)) as session:
        source.refuse_page = SourceError("Nobody answers.")
        await session.press("5", "G")
        assert "Earlier events cannot be read. Nobody answers." in session.lines[-1]
        source.refuse_page = None
        await session.wait(5)
        await session.until(lambda: len(session.app.view.events) == 1500)


@pytest.mark.parametrize("size", [(80, 24), (200, 50)])
async def test_audit_is_as_recorded(size: tuple[int, int]) -> None:
    async with open_console(size=size) as session:
        await session.press("5", "a")
        check_golden(f"audit_{size[0]}x{size[1]}", session)
