"""Batches of several entries: reserved as a whole by the first part, whatever comes in between."""

from __future__ import annotations

import pytest

from cortex.v1.log_pb2 import BatchKey, BatchPart, Command, HistoryTrim, Reply, RequestRef, SettingsChange
from cortex.v1.types_pb2 import Batch, EventType, SubmitKey
from node.core.faults import Code
from node.core.model import Key, Table, reply_key
from node.core.transitions.batches import BATCH_KEPT_US, OPEN_LIMIT
from node.core.transitions.keys import SUBMIT_KEY_KEPT_US, submission_sha256
from tests.core.cluster import Machine, cancel, cluster, failed, retry
from tests.core.states import NO_RETRY


def limit(m: Machine, depth: int) -> None:
    assert m.one(Command(settings_change=SettingsChange(name="max_queue_depth", value=str(depth)))).accepted


class Submitter:
    """One batch under way; `keys` maps lines (from 1) to submit keys, `argv` says what they submit."""

    def __init__(
        self,
        m: Machine,
        count: int,
        name: str = "b",
        keys: dict[int, str] | None = None,
        argv: bytes = b"true",
    ) -> None:
        self.m, self.name = m, name
        keys = keys or {}
        lines = range(1, count + 1)
        self.submits = [m.submission((argv,), key=keys.get(line, "")) for line in lines]
        self.sent = 0
        self.number = 0

    def part(self, size: int, **more: int) -> Reply:
        """The next `size` submissions; goes on when they are accepted."""
        chosen = self.submits[self.sent : self.sent + size]
        batch = BatchPart(id=self.name, first=self.sent, count=len(self.submits))
        if not self.sent:
            batch.keys.extend(
                BatchKey(line=line, key=submit.submit_key, spec_sha256=submission_sha256(submit))
                for line, submit in enumerate(self.submits, 1)
                if submit.submit_key
            )
        reply = self.m.apply(
            *(Command(task_submit=submit) for submit in chosen),
            client="ann",
            request_id=f"{self.name}/{self.number}",
            batch=batch,
            **more,  # type: ignore[arg-type]
        )
        if reply.commands[0].accepted:
            self.sent += len(chosen)
            self.number += 1
        return reply

    def rest(self, size: int = 3) -> None:
        while self.sent < len(self.submits):
            reply = self.part(size)
            assert all(answer.accepted for answer in reply.commands), reply

    @property
    def row(self) -> Batch | None:
        return self.m.state.batches.get(reply_key("ann", self.name))


def refused(reply: Reply) -> tuple[str, str]:
    """Code and message of a reply that refuses all."""
    assert not any(answer.accepted for answer in reply.commands)
    return reply.commands[0].code, reply.commands[0].message


def test_the_parts_of_a_batch_become_its_tasks() -> None:
    m = cluster()
    batch = Submitter(m, 7)
    batch.part(3)
    assert batch.row is not None
    assert (batch.row.count, batch.row.next, batch.row.reserved) == (7, 3, 4)
    assert m.state.live_count() == 3
    batch.rest()
    assert batch.row is None
    assert not [key for key in m.rows if key.table is Table.BATCHES]
    assert list(m.state.tasks) == [submit.id for submit in batch.submits]


def test_the_whole_depth_is_reserved_at_first() -> None:
    m = cluster()
    limit(m, 10)
    batch = Submitter(m, 8)
    batch.part(3)
    single = Command(task_submit=m.submission())
    assert m.one(single).accepted
    assert m.one(Command(task_submit=m.submission())).accepted
    reply = m.one(Command(task_submit=m.submission()))
    assert reply.code == Code.QUEUE_FULL
    assert "10 tasks have not ended (5 of them are still to come of batches)" in reply.message
    batch.rest()
    assert m.state.live_count() == 10


def test_a_batch_that_is_too_deep_is_refused_whole_and_may_be_repeated() -> None:
    m = cluster()
    limit(m, 6)
    other = m.submit()
    batch = Submitter(m, 6)
    code, message = refused(batch.part(2))
    assert code == Code.QUEUE_FULL
    assert "1 tasks" in message
    assert "6 more" in message
    assert batch.row is None
    assert m.state.live_count() == 1
    m.one(cancel(other))
    batch.rest()
    assert m.state.live_count() == 6


def test_a_repeated_part_changes_nothing() -> None:
    m = cluster()
    batch = Submitter(m, 4)
    first = batch.part(2)
    before = m.state.digest
    again = Submitter(m, 4)
    repeated = again.part(2)
    assert repeated.repeated_request
    assert list(repeated.commands) == list(first.commands)
    assert m.state.digest == before
    again.rest()
    assert m.state.live_count() == 4
    assert batch.row is None


def test_a_part_out_of_order_is_refused() -> None:
    m = cluster()
    batch = Submitter(m, 6)
    batch.part(2)
    batch.sent, batch.number = 3, 7
    assert refused(batch.part(2)) == (Code.INVALID, "The batch goes on with submission 2 of 6, not 3 of 6.")
    batch.sent, batch.number = 2, 8
    batch.rest()


def test_a_part_without_its_batch_is_refused() -> None:
    m = cluster()
    batch = Submitter(m, 6)
    batch.sent, batch.number = 2, 1
    code, message = refused(batch.part(2))
    assert code == Code.WRONG_STATE
    assert "the first 2 of its 6 tasks were accepted" in message


@pytest.mark.parametrize(
    "part",
    [
        BatchPart(id="", count=5),
        BatchPart(id="a\0b", count=5),
        BatchPart(id="x" * 201, count=5),
        BatchPart(id="b", count=0),
        BatchPart(id="b", count=1),
        BatchPart(id="b", first=4, count=5),
        BatchPart(id="b", count=4_000_000_000),
        BatchPart(id="b", count=2, keys=[BatchKey(line=1)] * 3),
    ],
)
def test_a_part_that_does_not_fit_is_refused(part: BatchPart) -> None:
    m = cluster()
    commands = [Command(task_submit=m.submission()) for _ in range(2)]
    code, _ = refused(m.apply(*commands, client="ann", request_id="b/0", batch=part))
    assert code == Code.INVALID
    assert not m.state.batches


def test_batches_under_way_are_limited() -> None:
    m = cluster()
    for number in range(OPEN_LIMIT):
        Submitter(m, 2, f"b{number}").part(1)
    one_more = Submitter(m, 2, "more")
    assert refused(one_more.part(1))[0] == Code.OVERLOADED
    m.now_us += BATCH_KEPT_US
    assert one_more.part(1).commands[0].accepted


def test_a_batch_that_does_not_go_on_is_given_up() -> None:
    m = cluster()
    limit(m, 5)
    batch = Submitter(m, 5, keys={5: "late"})
    batch.part(2)
    other = m.submission((b"other",), key="late")
    assert m.one(Command(task_submit=other)).code == Code.ALREADY_EXISTS
    m.apply(after_us=BATCH_KEPT_US)
    # Expired by the time of the entry, whether or not its row is still there.
    assert m.one(Command(task_submit=other)).accepted
    code, message = refused(batch.part(2))
    assert code == Code.WRONG_STATE
    assert "the first 2 of its 5 tasks were accepted" in message
    trim = HistoryTrim(batches=[RequestRef(client="ann", request_id="b"), RequestRef(client="ann")])
    assert m.one(Command(history_trim=trim)).accepted
    assert batch.row is None
    (event,) = m.last_events()
    assert (event.type, event.detail) == (
        EventType.EVENT_TYPE_HISTORY_TRIMMED,
        "batch b was given up: 2 of its 5 tasks had come",
    )


def test_each_part_gives_a_batch_more_time() -> None:
    m = cluster()
    batch = Submitter(m, 4)
    batch.part(1)
    trim = Command(history_trim=HistoryTrim(batches=[RequestRef(client="ann", request_id="b")]))
    for _ in range(3):
        m.one(trim, after_us=BATCH_KEPT_US - 1000)
        assert batch.part(1, after_us=999).commands[0].accepted
    assert batch.row is None


# Submit keys


def test_a_key_that_is_held_is_counted_once() -> None:
    m = cluster()
    limit(m, 4)
    held = m.submit((b"true",), key="k1")
    batch = Submitter(m, 5, keys={1: "k2", 4: "k1", 5: "k2"})
    batch.part(2)
    assert batch.row is not None
    assert batch.row.reserved == 1
    ids = [answer.id for answer in batch.part(3).commands]
    assert ids[1:] == [held, batch.submits[0].id]
    assert m.state.live_count() == 4


@pytest.mark.parametrize("line", [1, 4])
def test_a_key_that_stands_for_something_else_refuses_all(line: int) -> None:
    m = cluster()
    held = m.submit((b"false",), key="k1")
    batch = Submitter(m, 5, keys={line: "k1"})
    reply = batch.part(2)
    assert refused(reply)[0] == Code.ALREADY_EXISTS
    assert f"Line {line}: Submit key k1 stands for task {held}" in reply.commands[1].message
    assert batch.row is None
    assert m.state.live_count() == 1


def test_a_key_of_two_lines_refuses_all_if_they_differ() -> None:
    m = cluster()
    batch = Submitter(m, 5, keys={2: "k", 5: "k"})
    batch.submits[4].priority = 3
    code, message = refused(batch.part(1))
    assert code == Code.ALREADY_EXISTS
    assert message.endswith("Line 5: Submit key k is that of line 2, with another spec.")


def test_a_reserved_key_is_for_the_same_submission_only() -> None:
    m = cluster()
    batch = Submitter(m, 4, keys={3: "k3", 4: "k4"})
    batch.part(1)
    reply = m.one(Command(task_submit=m.submission((b"other",), key="k3")))
    assert reply.code == Code.ALREADY_EXISTS
    assert "belongs to a batch that is being submitted" in reply.message
    other = Submitter(m, 2, "other", keys={2: "k3"}, argv=b"other")
    assert "Line 2: Submit key k3 belongs to a batch" in refused(other.part(1))[1]
    same = m.submit((b"true",), key="k3")
    batch.rest()
    assert m.state.tasks[same].submit_key == "k3"
    assert m.state.live_count() == 4
    assert m.one(Command(task_submit=m.submission((b"other",), key="unrelated"))).accepted


def test_another_run_of_the_same_file_goes_on_at_once() -> None:
    """Whoever lost the request id has the keys: what came is found again, what did not come is not blocked."""
    m = cluster()
    keys = {line: f"k{line}" for line in range(1, 7)}
    Submitter(m, 6, "lost", keys).part(4)
    again = Submitter(m, 6, "again", keys)
    replies = again.part(6).commands
    assert [answer.deduplicated for answer in replies] == [True] * 4 + [False] * 2
    assert m.state.live_count() == 6


def test_a_reserved_key_does_not_return_to_a_revived_task() -> None:
    m = cluster()
    old, fence = m.running(key="k2", **NO_RETRY)
    m.one(failed(old, fence))
    m.now_us += SUBMIT_KEY_KEPT_US
    batch = Submitter(m, 2, keys={2: "k2"}, argv=b"echo")
    batch.part(1)
    assert m.one(retry(old)).accepted
    batch.rest()
    row = m.rows[Key(Table.SUBMIT_KEYS, "k2")]
    assert isinstance(row, SubmitKey)
    assert row.task_id == batch.submits[1].id
