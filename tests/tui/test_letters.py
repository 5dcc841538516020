"""View 4: dead letters by cause, from a look at a sample to what becomes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cortex.v1 import types_pb2
from tests.tui import fake
from tests.tui.console import Session, check_golden, open_console
from tests.tui.fake_letters import fingerprint, letter, letters
from tests.tui.fake_source import FakeSource
from tui.source import SourceError

SIZES = {"80x24": (80, 24), "200x50": (200, 50)}
SCREENS: dict[str, tuple[str, ...]] = {
    "causes": ("4",),
    "cause": ("4", "enter"),
    "retry_cause": ("4", "r"),
    "canary": ("4", "j", "b"),
    "discard_cause": ("4", "X", *"moved", "enter"),
    "causes_under_way": ("4", "b", "y"),
}


def burst(count: int = 500) -> FakeSource:
    return FakeSource(tasks=letters(count))


def changed(session: Session, key: str, **fields: Any) -> types_pb2.Operation:
    """The operation with other values, told to the stream."""
    row = types_pb2.Operation()
    row.CopyFrom(session.source.operations[key])
    for name, value in fields.items():
        getattr(row, name).CopyFrom(value) if name in ("counts", "bulk") else setattr(row, name, value)
    row.modified_index += 1
    session.source.push(row)
    return row


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("screen", SCREENS)
async def test_screen_is_as_recorded(screen: str, size: str) -> None:
    async with open_console(burst(), SIZES[size]) as session:
        await session.press(*SCREENS[screen])
        check_golden(f"{screen}_{size}", session)


async def test_500_letters_of_5_causes_are_triaged_in_25_keys() -> None:
    """Three canaries, a retry of all, and a discard, each confirmed: nothing is left undecided."""
    keys = ["4", "b", "y", "j", "b", "y", "j", "b", "y", "j"]
    keys += ["r", *"100", "y", "j"]
    keys += ["X", *"dup", "enter", *"100", "y"]
    assert len(keys) <= 25
    async with open_console(burst()) as session:
        await session.press(*keys)
        calls = session.source.calls
        assert [call[0] for call in calls] == ["canary", "canary", "canary", "retry_cause", "discard"]
        assert {call[1] for call in calls} == {fingerprint(cause) for cause in range(5)}
        assert calls[-1][2] == "dup"


async def test_many_letters_are_shown_by_cause_few_one_by_one() -> None:
    async with open_console(FakeSource(tasks=letters(20))) as session:
        await session.press("4")
        assert "by cause" not in session.lines[1]
        await session.press("t")
        assert "by cause" in session.lines[1]
    async with open_console(FakeSource(tasks=letters(21))) as session:
        await session.press("4")
        assert "by cause" in session.lines[1]
        await session.press("t", "2", "4")
        assert "by cause" not in session.lines[1], "it stays as it was chosen"


async def test_the_way_they_are_shown_changes_only_when_the_view_is_opened() -> None:
    async with open_console(FakeSource(tasks=letters(21))) as session:
        await session.press("4", "b", "escape")
        gone = types_pb2.Task()
        for number in range(1, 11):
            gone.CopyFrom(session.source.tasks[f"01jx{number:08d}"])
            gone.state, gone.modified_index = fake.CANCELLED, 9000 + number
            session.source.push(gone)
        session.source.index = 9100
        await session.wait(2)
        assert "Dead letters 11" in session.lines[1]
        await session.press("b", "escape", "enter", "q")
        assert "by cause" in session.lines[1]
        await session.press("2", "4")
        assert "by cause" not in session.lines[1]


async def test_a_cause_shows_its_sample_and_its_letters() -> None:
    source = burst(10)
    source.tasks["01jx00000010"].result.stderr.CopyFrom(
        types_pb2.StreamSummary(total_bytes=40, head=b"reading\nno such table: report\n")
    )
    async with open_console(source, (100, 40)) as session:
        await session.press("4", "t", "enter")
        assert "2 letters  of cause 002a9c41e77" in session.text
        assert "no such table: report" in session.text
        assert "fails wherever and with whatever it runs" in session.text
        assert session.text.count("psql: password") >= 4, "the error, and each attempt"
        assert "job-005" in session.text
        assert "job-001" not in session.text, "of another cause"
        await session.press("tab", "j", "enter")
        assert "01jx00000005" in session.text
        assert "RESULT" in session.text


async def test_keys_in_a_cause_are_about_what_has_the_focus() -> None:
    async with open_console(burst(10)) as session:
        await session.press("4", "t", "enter")
        assert "act on the whole cause" in session.text
        await session.press("r")
        assert "Retry 2 letters of 1 cause" in session.text
        await session.press("escape", "tab")
        assert "act on the letter under the cursor" in session.text
        await session.press("r")
        assert "Retry 1 task" in session.text
        await session.press("y")
        assert session.source.calls == [("retry", ("01jx00000010",))]
        await session.press("space", "space")
        assert "act on the 2 marked" in session.text
        await session.press("X", *"no", "enter", "y")
        assert session.source.calls[-1] == ("discard", ("01jx00000010", "01jx00000005"), "no")


async def test_a_cause_is_retried_after_its_count_was_typed() -> None:
    async with open_console(burst(60)) as session:
        await session.press("4", "r")
        assert "Type 12 to confirm" in session.text
        assert "$ cortex retry --cause 002a9c41e77" in session.text
        await session.press("y", "enter")
        assert session.source.calls == []
        await session.press("r", "1", "2", "y")
        assert session.source.calls == [("retry_cause", fingerprint(0))]


async def test_letters_that_come_while_the_plan_is_shown_are_not_taken_along() -> None:
    async with open_console(burst(60)) as session:
        await session.press("4", "r", "1", "2")
        late = letter(65, 0)
        late.modified_index = 9000
        session.source.index = 9000
        session.source.push(late)
        await session.settle()
        await session.wait(2)
        session.source.push()  # the link is alive
        await session.settle()
        await session.press("y")
        assert session.source.calls == []
        assert "Look again" in session.text
        assert "Retry 13 letters" in session.text
        await session.press("1", "3", "y")
        assert session.source.calls == [("retry_cause", fingerprint(0))]


async def test_a_canary_is_confirmed_by_one_key_and_shown_until_it_stops() -> None:
    async with open_console(burst(), (120, 30)) as session:
        await session.press("4", "b")
        assert "1 letter first, then 10, then all 100" in session.text
        await session.press("y")
        assert session.source.calls == [("canary", fingerprint(0))]
        assert "canary begins in 10s" in session.line_with("psql")
        running = types_pb2.OPERATION_STATE_RUNNING
        bulk = types_pb2.BulkPlan(fingerprint=fingerprint(0), canary=True, step=1, step_end=1)
        counts = types_pb2.OperationCounts(total=100, issued=1)
        changed(session, "op-1", state=running, counts=counts, bulk=bulk, begun_at_us=fake.NOW_US + 10_000_000)
        await session.settle()
        assert "canary 1/3: 1 of 100, 0 ok" in session.line_with("psql")
        bulk = types_pb2.BulkPlan(fingerprint=fingerprint(0), canary=True, step=2, step_end=10)
        counts = types_pb2.OperationCounts(total=100, issued=10, succeeded=1)
        changed(session, "op-1", counts=counts, bulk=bulk)
        await session.settle()
        assert "canary 2/3: 10 of 100, 1 ok" in session.line_with("psql")
        counts = types_pb2.OperationCounts(total=100, issued=10, succeeded=1, failed=9, failed_same=9)
        why = "9 of 10 failed the same way again; 90 are untouched"
        stopped = types_pb2.OPERATION_STATE_STOPPED
        changed(session, "op-1", state=stopped, counts=counts, outcome=why, ended_at_us=fake.NOW_US)
        await session.settle()
        assert f"canary stopped: {why}" in session.lines[-1], "it is said when it happens"
        assert "canary stopped, 9 failed" in session.line_with("psql")
        await session.press("enter")
        assert f"canary stopped: {why}" in session.lines[3]


async def test_a_cause_without_letters_stays_until_what_was_retried_has_ended() -> None:
    async with open_console(burst(30), (120, 30)) as session:
        await session.press("4", "b", "y")
        for task in list(session.source.tasks.values()):
            if task.fingerprint == fingerprint(0):
                again = types_pb2.Task()
                again.CopyFrom(task)
                again.state, again.modified_index = fake.RUNNING, 9000
                session.source.push(again)
        session.source.index = 9000
        await session.wait(1)
        await session.settle()
        assert "canary" in session.line_with("psql")
        assert session.line_with("psql").split()[0] == "0"
        counts = types_pb2.OperationCounts(total=6, issued=6, succeeded=6)
        done = types_pb2.OPERATION_STATE_DONE
        changed(
            session, "op-1", state=done, counts=counts, begun_at_us=fake.NOW_US + 1, ended_at_us=fake.NOW_US + 2
        )
        await session.wait(40)
        await session.settle()
        assert "psql" not in session.text


async def test_causes_are_asked_for_when_letters_change_but_not_all_the_time() -> None:
    async with open_console(burst(30)) as session:
        await session.press("4")
        asked = session.source.cause_requests
        await session.wait(5)
        assert session.source.cause_requests == asked, "nothing changed"
        for number in range(31, 41):
            late = letter(number, 0)
            late.modified_index = 9000 + number
            session.source.index = 8999 + number
            session.source.push(late)
            await session.settle()
        assert session.source.cause_requests <= asked + 1
        assert "Dead letters 40" in session.lines[1], "reckoned from the stream meanwhile"
        await session.wait(1)
        await session.wait(1)
        assert session.line_with("psql").lstrip("▌ ").startswith("16 ")


async def test_a_discard_needs_a_reason() -> None:
    async with open_console(burst(30)) as session:
        await session.press("4", "X", "enter")
        assert "give a reason" in session.text
        await session.press(*"old", "enter")
        assert "Discard 6 letters of 1 cause" in session.text
        assert "--reason old" in session.text
        await session.press("y")
        assert session.source.calls == [("discard", fingerprint(0), "old")]
        await session.press("j", "X")
        assert "old" in session.text, "the reason of last time is there again"
        await session.press("escape")
        assert len(session.source.calls) == 1


async def test_a_note_is_shown_before_it_is_kept() -> None:
    async with open_console(burst(10)) as session:
        await session.press("4", "a", *"disk", "enter")
        assert "Note: disk" in session.text
        await session.press("y")
        assert session.source.calls == [("annotate", "01jx00000010", "disk")]


async def test_a_task_is_edited_and_retried_with_its_difference_shown(tmp_path: Path) -> None:
    async with open_console(burst(10)) as session:
        file = tmp_path / "spec.yaml"

        async def edit(text: str, name: str) -> tuple[str, Path]:
            assert name == "cortex-01jx00000010.yaml"
            file.write_text(text.replace("--part 10", f"--part 11 {'x' * 60} --end"))
            return file.read_text(), file

        session.app.edit = edit  # type: ignore[method-assign]
        session.app.forget_edit = lambda path: path.unlink()  # type: ignore[method-assign]
        await session.press("4", "E")
        await session.until(lambda: len(session.app.screen_stack) > 1)
        await session.settle()
        assert "-command: ./job.sh --part 10" in session.text
        assert "+command: ./job.sh --part 11" in session.text
        assert "xx --end" in session.text, "long lines are broken, not cut"
        assert "$ cortex retry 01jx00000010 --edit" in session.text
        assert session.source.calls == []
        await session.press("y")
        verb, ids, spec = session.source.calls[0]
        assert (verb, ids) == ("retry", ("01jx00000010",))
        assert spec.shell_command.startswith(b"./job.sh --part 11 ")  # type: ignore[attr-defined]
        assert not file.exists()


@pytest.mark.parametrize(
    ("made", "said"),
    [("command: [", "it is no YAML"), ("name: x", "a retry keeps it"), ("", "Nothing was changed")],
)
async def test_an_edit_that_leads_nowhere_retries_nothing(made: str, said: str, tmp_path: Path) -> None:
    async with open_console(burst(10), (200, 24)) as session:

        async def edit(text: str, name: str) -> tuple[str, Path]:
            return made or text, tmp_path / name

        session.app.edit = edit  # type: ignore[method-assign]
        session.app.forget_edit = lambda path: None  # type: ignore[method-assign]
        await session.press("4", "E")
        await session.until(lambda: said in session.text)
        assert len(session.app.screen_stack) == 1
        assert session.source.mutators == 0


async def test_an_editor_that_cannot_be_had_is_said() -> None:
    async with open_console(burst(10), (200, 24)) as session:
        await session.press("4", "E")
        await session.until(lambda: "cannot be handed to an editor" in session.text)
        assert session.source.mutators == 0


async def test_a_refused_discard_is_said_in_its_preview() -> None:
    async with open_console(burst(10)) as session:
        session.source.refuse = SourceError("No leader is known.", "Wait for an election.")
        await session.press("4", "X", *"no", "enter", "y")
        assert "No leader is known. Wait for an election." in session.text


async def test_letters_without_a_fingerprint_are_chosen_one_by_one() -> None:
    tasks = [fake.task(number, f"late{number}", fake.DEAD, ended_s=60) for number in (1, 2)]
    async with open_console(FakeSource(tasks=tasks)) as session:
        await session.press("4", "t", "r")
        assert "have no fingerprint" in session.text
        await session.press("y")
        assert session.source.mutators == 0
        await session.press("escape", "enter", "tab", "r")
        assert "Retry 1 task" in session.text
        await session.press("y")
        assert session.source.calls == [("retry", ("01jx00000001",))]
