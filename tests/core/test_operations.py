"""Operations: start, undo, begin, advance, stop; each letter is acted upon once; ends are counted."""

from __future__ import annotations

import pytest

from cortex.v1 import types_pb2
from cortex.v1.log_pb2 import Command, OperationAdvance, OperationStart, OperationStop
from cortex.v1.types_pb2 import Operation, TaskSpec
from node.core.faults import Code
from node.core.model import CANCELLED, DEAD_LETTER, QUEUED, Key, Table
from node.core.operations import DONE, IDS_LIMIT, LIVE_LIMIT, REFUSED, SCHEDULED, STOPPED, UNDONE
from tests.core.cluster import Machine, cluster, complete, fenced, queue_timeout, retry
from tests.core.operating import advance, bulk, discard, letter, priority, retry_all, start, stop

WINDOW_US = 10_000_000


def row(m: Machine, operation_id: str = "op1") -> Operation:
    found = m.rows[Key(Table.OPERATIONS, operation_id)]
    assert isinstance(found, Operation)
    return found


def states(m: Machine, *ids: str) -> list[int]:
    return [m.task(task_id).state for task_id in ids]


def test_retry_of_ids_is_one_entry() -> None:
    m = cluster()
    one, two = letter(m), letter(m)
    reply = m.apply(bulk("retry", ids=[one, two]), actor="ada")
    assert [item.accepted for item in reply.commands[0].items] == [True, True]
    operation = row(m)
    assert operation.state == DONE
    assert (operation.counts.total, operation.counts.issued) == (2, 2)
    assert operation.actor == "ada"
    assert operation.ended_at_us == operation.begun_at_us == operation.created_at_us == m.now_us
    assert states(m, one, two) == [QUEUED, QUEUED]
    assert m.task(one).operation == "op1"
    retried = [event for event in m.last_events() if event.type == types_pb2.EVENT_TYPE_RETRIED]
    assert {(event.task, event.operation, event.actor) for event in retried} == {
        (one, "op1", "ada"),
        (two, "op1", "ada"),
    }
    assert "op1" not in m.state.operations


def test_what_cannot_be_done_is_named_and_the_rest_is_done() -> None:
    m = cluster()
    dead, live = letter(m), m.submit()
    answer = m.one(bulk("retry", ids=[dead, live]))
    assert answer.accepted
    assert [(item.id, item.accepted, item.code) for item in answer.items] == [
        (dead, True, ""),
        (live, False, Code.WRONG_STATE),
    ]
    assert row(m).counts.passed_over == 1


def test_nothing_to_do_is_a_refusal_that_leaves_no_operation() -> None:
    m = cluster()
    live = m.submit()
    answer = m.one(bulk("retry", ids=[live]))
    assert answer.code == Code.WRONG_STATE
    assert f"Task {live} is queued" in answer.message
    assert Key(Table.OPERATIONS, "op1") not in m.rows


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (start("op 1", types_pb2.OPERATION_KIND_RETRY), Code.INVALID),
        (bulk("retry"), Code.INVALID),
        (bulk("retry", ids=["a"], fingerprint="f"), Code.INVALID),
        (bulk("retry", ids=["nobody"]), Code.NOT_FOUND),
        (bulk("retry", ids=["a", "a"]), Code.INVALID),
        (bulk("retry", ids=[f"t{number}" for number in range(IDS_LIMIT + 1)]), Code.INVALID),
        (bulk("retry", fingerprint="f\n"), Code.INVALID),
        (bulk("retry", ids=["a", "b"], edited_spec=TaskSpec(shell_command=b"x")), Code.INVALID),
        (bulk("retry", ids=["a"], canary=True), Code.INVALID),
        (bulk("retry", fingerprint="f", window_us=-1), Code.INVALID),
        (bulk("retry", fingerprint="f", window_us=1 << 40), Code.INVALID),
        (bulk("discard", fingerprint="f"), Code.INVALID),
        (bulk("discard", fingerprint="f", reason="x" * 201), Code.INVALID),
        (bulk("discard", fingerprint="f", reason="x", canary=True), Code.INVALID),
        (bulk("priority", ids=["a"], priority=11), Code.INVALID),
        (bulk("priority", fingerprint="f", priority=1), Code.INVALID),
        (start("op1", types_pb2.OPERATION_KIND_UNSPECIFIED), Code.UNSUPPORTED),
        (advance("op1"), Code.NOT_FOUND),
        (stop("op1"), Code.NOT_FOUND),
    ],
)
def test_refusals(command: Command, code: Code) -> None:
    m = cluster()
    answer = m.one(command)
    assert (answer.accepted, answer.code) == (False, code)
    assert not m.state.operations


def test_an_id_is_used_once() -> None:
    m = cluster()
    assert m.one(bulk("retry", ids=[letter(m)])).accepted
    assert m.one(bulk("retry", ids=[letter(m)])).code == Code.ALREADY_EXISTS


def test_a_request_is_answered_once() -> None:
    m = cluster()
    command = bulk("retry", ids=[letter(m)])
    first = m.apply(command, client="c", request_id="op1")
    again = m.apply(command, client="c", request_id="op1")
    assert again.repeated_request
    assert again.commands == first.commands


def test_undo_within_the_window_changes_nothing() -> None:
    m = cluster()
    dead = letter(m)
    before = m.task(dead)
    assert m.one(discard([dead], window_us=WINDOW_US)).accepted
    assert row(m).state == SCHEDULED
    assert row(m).not_before_us == m.now_us + WINDOW_US
    m.apply(stop("op1", undo=True), actor="bob")
    assert row(m).state == UNDONE
    assert row(m).outcome == "by bob"
    assert m.task(dead) == before
    assert [event.type for event in m.last_events()] == [types_pb2.EVENT_TYPE_OPERATION_UNDONE]
    assert m.last_events()[0].actor == "bob"
    assert m.one(stop("op1", undo=True)).code == Code.WRONG_STATE
    assert m.one(advance("op1", begin=True), after_us=WINDOW_US).code == Code.WRONG_STATE


def test_the_order_of_the_log_decides_between_undo_and_begin() -> None:
    m = cluster()
    dead = letter(m)
    m.one(discard([dead], window_us=WINDOW_US))
    assert m.one(advance("op1", begin=True), after_us=WINDOW_US - 1).code == Code.WRONG_STATE
    assert m.one(advance("op1", begin=True), after_us=1).accepted
    refused = m.one(stop("op1", undo=True))
    assert refused.code == Code.WRONG_STATE
    assert "has begun" in refused.message
    assert m.one(advance("op1", next_cursor="1", ids=[dead], done=True)).accepted
    assert states(m, dead) == [CANCELLED]
    assert m.task(dead).cancel_reason == "not needed"
    assert row(m).state == DONE


def test_what_is_to_come_has_to_be_right_as_a_whole() -> None:
    m = cluster()
    dead, waits, (runs, _) = letter(m), m.submit(), m.running()
    answer = m.one(discard([dead, waits, runs], window_us=WINDOW_US))
    assert answer.code == Code.WRONG_STATE
    assert f"{waits} is queued, {runs} is running" in answer.message
    assert m.one(priority([waits, runs], 3, window_us=WINDOW_US)).code == Code.WRONG_STATE
    assert m.one(bulk("retry", ids=[waits], window_us=WINDOW_US)).code == Code.WRONG_STATE
    assert not m.state.operations


def test_a_step_is_taken_once() -> None:
    m = cluster()
    letters = [letter(m) for _ in range(3)]
    m.one(discard(letters, window_us=WINDOW_US))
    m.one(advance("op1", begin=True), after_us=WINDOW_US)
    step = advance("op1", next_cursor="2", ids=letters[:2])
    assert m.one(step).accepted
    assert m.one(step).code == Code.WRONG_STATE
    assert m.one(advance("op1", begin=True)).code == Code.WRONG_STATE
    assert m.one(advance("op1", cursor="2", next_cursor="2", ids=letters[2:])).code == Code.WRONG_STATE
    assert row(m).counts.issued == 2
    assert states(m, *letters) == [CANCELLED, CANCELLED, DEAD_LETTER]


def test_a_stop_leaves_the_rest_untouched() -> None:
    m = cluster()
    letters = [letter(m) for _ in range(2)]
    m.one(discard(letters, window_us=WINDOW_US))
    m.one(advance("op1", begin=True, next_cursor="1", ids=letters[:1]), after_us=WINDOW_US)
    assert m.one(stop("op1", reason="enough")).accepted
    assert (row(m).state, row(m).outcome) == (STOPPED, "enough")
    assert states(m, *letters) == [CANCELLED, DEAD_LETTER]


def test_a_begin_may_be_refused() -> None:
    m = cluster()
    dead = letter(m)
    m.one(discard([dead], window_us=WINDOW_US))
    m.one(advance("op1", begin=True, refused=True, outcome="it does not hold"), after_us=WINDOW_US)
    assert (row(m).state, row(m).outcome) == (REFUSED, "it does not hold")
    assert states(m, dead) == [DEAD_LETTER]


def test_what_changed_meanwhile_is_passed_over() -> None:
    m = cluster()
    retried, died_again, kept = letter(m), letter(m), letter(m)
    m.one(discard([retried, died_again, kept], window_us=WINDOW_US))
    m.one(retry(retried))
    m.one(retry(died_again))
    letter(m, died_again)
    m.one(advance("op1", begin=True), after_us=WINDOW_US)
    m.one(advance("op1", next_cursor="3", ids=[retried, died_again, kept], done=True))
    assert states(m, retried, died_again, kept) == [QUEUED, DEAD_LETTER, CANCELLED]
    assert (row(m).counts.issued, row(m).counts.passed_over) == (1, 2)


def test_a_letter_that_dies_again_is_not_retried_twice() -> None:
    m = cluster()
    dead = letter(m)
    m.one(retry_all())
    m.one(advance("op1", begin=True, total=1, next_cursor="1", ids=[dead]))
    letter(m, dead)
    m.one(advance("op1", cursor="1", next_cursor="2", ids=[dead]))
    assert states(m, dead) == [DEAD_LETTER]
    assert (row(m).counts.issued, row(m).counts.passed_over) == (1, 1)
    assert (row(m).counts.failed, row(m).counts.failed_same) == (1, 1)


def test_an_annotated_letter_is_still_meant() -> None:
    m = cluster()
    dead = letter(m)
    m.one(retry_all())
    note = Command()
    note.task_annotate.id, note.task_annotate.text = dead, "disk was full"
    assert m.one(note).accepted
    m.one(advance("op1", begin=True, total=1, next_cursor="1", ids=[dead], done=True))
    assert states(m, dead) == [QUEUED]
    assert m.task(dead).annotations[0].text == "disk was full"


def test_another_cause_is_not_touched() -> None:
    m = cluster()
    mine, other = letter(m), letter(m, fingerprint="other")
    m.one(retry_all())
    m.one(advance("op1", begin=True, total=1, next_cursor="1", ids=[mine, other], done=True))
    assert states(m, mine, other) == [QUEUED, DEAD_LETTER]


def test_ends_are_counted_also_after_the_operation() -> None:
    m = cluster()
    letters = [letter(m) for _ in range(4)]
    m.one(retry_all())
    m.one(advance("op1", begin=True, total=4, next_cursor="1", ids=letters, done=True))
    assert "op1" not in m.state.operations
    good, same, different, gone = letters
    fence = m.assign(good)
    m.one(fenced("task_started", good, fence))
    m.one(complete(good, fence))
    letter(m, same)
    letter(m, different, fingerprint="other")
    m.one(Command(task_cancel={"id": gone}))
    m.one(discard([same], operation="op2"))
    counts = row(m).counts
    assert (counts.issued, counts.succeeded, counts.failed, counts.failed_same) == (4, 1, 3, 1)


def test_a_canary_keeps_to_its_step() -> None:
    m = cluster()
    letters = [letter(m) for _ in range(3)]
    m.one(retry_all(canary=True))
    early = advance("op1", begin=True, total=3, next_cursor="1", ids=letters[:2], step=1, step_end=1)
    assert m.one(early).code == Code.WRONG_STATE
    assert m.one(advance("op1", begin=True, total=3, next_cursor="1", ids=letters[:1], step=1, step_end=1)).accepted
    beyond = advance("op1", cursor="1", next_cursor="2", ids=letters[1:2])
    assert m.one(beyond).code == Code.WRONG_STATE
    again = advance("op1", cursor="1", next_cursor="2", ids=letters[1:2], step=1, step_end=2)
    assert m.one(again).code == Code.WRONG_STATE
    assert m.one(advance("op1", cursor="1", next_cursor="2", ids=letters[1:2], step=2, step_end=2)).accepted
    assert (row(m).bulk.step, row(m).bulk.step_end, row(m).counts.issued) == (2, 2, 2)
    m.one(advance("op1", cursor="2", next_cursor="2", stop=True, outcome="2 failed again"))
    assert (row(m).state, row(m).outcome) == (STOPPED, "2 failed again")


def test_an_edited_retry_says_what_changed() -> None:
    m = cluster()
    dead = letter(m)
    spec = TaskSpec()
    spec.CopyFrom(m.task(dead).spec)
    spec.timeout_ms = 5000
    assert m.one(bulk("retry", ids=[dead], edited_spec=spec)).accepted
    assert m.task(dead).spec.timeout_ms == 5000
    assert "edited: timeout_ms" in [event.detail for event in m.last_events()]


def test_priority_of_what_waits() -> None:
    m = cluster()
    waits, (runs, _) = m.submit(priority=2), m.running()
    answer = m.one(priority([waits, runs], 9))
    assert [item.accepted for item in answer.items] == [True, False]
    assert m.task(waits).priority == 9
    assert "2 -> 9" in [event.detail for event in m.last_events()]


def test_annotations_have_a_bound() -> None:
    m = cluster()
    task_id = m.submit()
    note = Command()
    note.task_annotate.id = task_id
    for number in range(25):
        note.task_annotate.text = f"note {number}"
        m.apply(note, actor="ada")
    notes = m.task(task_id).annotations
    assert [item.text for item in notes] == [f"note {number}" for number in range(5, 25)]
    assert notes[0].actor == "ada"
    for text in ("", " ", "x" * 501, "a\nb"):
        note.task_annotate.text = text
        assert m.one(note).code == Code.INVALID


def test_an_operation_that_lives_is_not_trimmed() -> None:
    m = cluster()
    m.one(bulk("retry", ids=[letter(m)]))
    m.one(retry_all(operation="op2"))
    trim = Command(history_trim={"before_us": m.now_us + 1, "operations": ["op1", "op2", "op3"]})
    assert m.one(trim).accepted
    assert Key(Table.OPERATIONS, "op1") not in m.rows
    assert row(m, "op2").state == SCHEDULED
    assert [event.detail for event in m.last_events()] == ["1 operations"]
    assert m.one(advance("op2", begin=True, done=True)).accepted
    early = Command(history_trim={"before_us": m.now_us, "operations": ["op2"]})
    assert m.one(early).accepted
    assert row(m, "op2").state == DONE


def test_a_bound_on_what_is_under_way() -> None:
    m = cluster()
    for number in range(LIVE_LIMIT):
        assert m.one(retry_all(operation=f"op{number}")).accepted
    assert m.one(retry_all(operation="more")).code == Code.OVERLOADED
    assert m.one(stop("op7")).accepted
    assert m.one(retry_all(operation="more")).accepted


def test_what_the_entry_says_of_the_rows_own_fields_does_not_count() -> None:
    m = cluster()
    asked = Operation(id="op1", kind=types_pb2.OPERATION_KIND_RETRY, state=DONE, cursor="9", actor="mallory")
    asked.bulk.fingerprint, asked.bulk.step = "f", 3
    asked.counts.issued = 7
    m.apply(Command(operation_start=OperationStart(operation=asked)), actor="ada")
    operation = row(m)
    assert (operation.state, operation.cursor, operation.actor) == (SCHEDULED, "", "ada")
    assert (operation.bulk.step, operation.counts.issued) == (0, 0)


def test_long_words_are_cut() -> None:
    m = cluster()
    m.one(retry_all())
    m.one(Command(operation_advance=OperationAdvance(id="op1", begin=True, stop=True, outcome="x" * 1000)))
    assert len(row(m).outcome) == 300
    assert m.one(Command(operation_stop=OperationStop(id="op1", reason="x" * 201))).code == Code.INVALID


def test_letters_without_a_report_have_a_cause_too() -> None:
    m = cluster()
    waits = m.submit(queue_timeout_ms=1)
    m.one(queue_timeout(waits), after_us=10_000)
    assert m.task(waits).fingerprint == "queue_timeout"
    lost = m.submit()
    while m.task(lost).state != DEAD_LETTER:
        m.one(fenced("task_lost", lost, m.assign(lost)))
    assert m.task(lost).fingerprint == "lost"
    m.one(bulk("retry", fingerprint="lost"))
    m.one(advance("op1", begin=True, total=1, next_cursor="1", ids=[lost, waits], done=True))
    assert states(m, lost, waits) == [QUEUED, DEAD_LETTER]
    assert m.task(lost).fingerprint == ""
