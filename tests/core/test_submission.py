"""Request ids, submit keys, batches and the queue's depth."""

from __future__ import annotations

import pytest

from cortex.v1 import types_pb2
from cortex.v1.log_pb2 import Command, HistoryTrim, RequestRef, SettingsChange
from node.core.faults import Code
from node.core.model import CANCELLED, QUEUED, Key, Table, reply_key
from tests.core.cluster import HOUR_US, Machine, cancel, cluster, complete, failed, retry
from tests.core.states import dead

DAY_US = 24 * HOUR_US


def submit(m: Machine, *argv: bytes, key: str = "", **spec: object) -> Command:
    return Command(task_submit=m.submission(argv or (b"true",), key=key, **spec))


def limit(m: Machine, depth: int) -> None:
    assert m.one(Command(settings_change=SettingsChange(name="max_queue_depth", value=str(depth)))).accepted


# Request ids


def test_a_repeat_gets_the_first_answer_and_changes_nothing() -> None:
    m = cluster()
    command = submit(m)
    first = m.apply(command, client="ann", request_id="r1")
    digest = m.state.digest
    second = m.apply(submit(m, b"other"), client="ann", request_id="r1")
    assert second.repeated_request
    assert not m.outcome.changes
    assert m.state.digest == digest
    assert (second.index, list(second.commands)) == (first.index, list(first.commands))


def test_a_refusal_is_repeated_too() -> None:
    m = cluster()
    refused = m.apply(cancel("nobody"), client="ann", request_id="r1")
    again = m.apply(cancel("nobody"), client="ann", request_id="r1")
    assert again.repeated_request
    assert list(again.commands) == list(refused.commands)


def test_request_ids_are_the_client_s_own() -> None:
    m = cluster()
    ids = {m.apply(submit(m), client=client, request_id="r1").commands[0].id for client in ("ann", "bob", "")}
    assert len(ids) == 3


def test_without_request_id_nothing_is_stored() -> None:
    m = cluster()
    m.apply(submit(m), client="ann")
    assert not [key for key in m.rows if key.table is Table.REPLIES]


def test_a_reply_is_kept_24_hours_of_entry_time() -> None:
    m = cluster()
    first = m.apply(submit(m), client="ann", request_id="r1")
    again = m.apply(submit(m), client="ann", request_id="r1", after_us=DAY_US - 1)
    assert again.repeated_request
    after = m.apply(submit(m), client="ann", request_id="r1", after_us=1)
    assert not after.repeated_request
    assert after.commands[0].id != first.commands[0].id
    assert m.apply(submit(m), client="ann", request_id="r1").index == after.index


def test_expired_replies_are_trimmed_and_young_ones_are_not() -> None:
    m = cluster()
    m.apply(submit(m), client="ann", request_id="r1")
    trim = Command(history_trim=HistoryTrim(requests=[RequestRef(client="ann", request_id="r1")]))
    m.apply(trim, after_us=DAY_US - 1)
    assert Key(Table.REPLIES, reply_key("ann", "r1")) in m.rows
    m.apply(trim, after_us=1)
    assert Key(Table.REPLIES, reply_key("ann", "r1")) not in m.rows


@pytest.mark.parametrize(("client", "request_id"), [("a\0b", "r"), ("a", "r\n"), ("a", "x" * 201)])
def test_a_bad_request_id_refuses_the_entry(client: str, request_id: str) -> None:
    m = cluster()
    reply = m.apply(submit(m), submit(m), client=client, request_id=request_id)
    assert [one.code for one in reply.commands] == [Code.INVALID] * 2
    assert m.state.live_count() == 0


# Submit keys


def test_same_key_same_spec_is_the_same_task() -> None:
    m = cluster()
    task_id = m.submit(key="nightly")
    reply = m.one(submit(m, key="nightly"))
    assert (reply.accepted, reply.id, reply.deduplicated) == (True, task_id, True)
    assert m.state.live_count() == 1


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"timeout_ms": 5}, "timeout_ms 0 -> 5"),
        ({"cwd": "/srv"}, "cwd '' -> '/srv'"),
        ({"cwd": "/\u0378"}, "cwd '' -> '/\\u0378'"),
        ({"success_codes": [3]}, "success_codes"),
    ],
)
def test_same_key_other_spec_says_the_difference(spec: dict[str, object], words: str) -> None:
    m = cluster()
    task_id = m.submit(key="nightly")
    reply = m.one(submit(m, key="nightly", **spec))
    assert reply.code == Code.ALREADY_EXISTS
    assert task_id in reply.message
    assert words in reply.message


def test_another_name_or_priority_is_another_spec() -> None:
    m = cluster()
    m.submit(key="nightly")
    reply = m.one(Command(task_submit=m.submission(key="nightly", priority=3)))
    assert "priority 0 -> 3" in reply.message


def test_a_key_is_kept_24_hours_after_the_end() -> None:
    m = cluster()
    task_id, fence = m.running(key="nightly")
    m.apply(submit(m, key="nightly"), after_us=3 * DAY_US)
    assert m.outcome.reply.commands[0].deduplicated
    m.one(complete(task_id, fence))
    assert task_id not in m.state.tasks
    assert m.one(submit(m, key="nightly"), after_us=DAY_US - 1).deduplicated
    new = m.one(submit(m, key="nightly"), after_us=1)
    assert (new.accepted, new.deduplicated) == (True, False)
    assert new.id != task_id
    assert m.one(submit(m, key="nightly")).id == new.id


def test_a_key_belongs_to_a_revived_task_again() -> None:
    m = cluster()
    task_id, fence = m.running(key="nightly", retry=types_pb2.RetryPolicy(max_retries=0))
    m.one(failed(task_id, fence))
    m.one(retry(task_id), after_us=3 * DAY_US)
    reply = m.one(submit(m, key="nightly", retry=types_pb2.RetryPolicy(max_retries=0)), after_us=DAY_US)
    assert (reply.id, reply.deduplicated) == (task_id, True)


@pytest.mark.parametrize("trimmed", [False, True])
@pytest.mark.parametrize("other", [False, True])
def test_whether_an_expired_key_was_trimmed_makes_no_difference(trimmed: bool, other: bool) -> None:
    m = cluster()
    no_retry = types_pb2.RetryPolicy(max_retries=0)
    task_id, fence = m.running(key="nightly", retry=no_retry)
    m.one(failed(task_id, fence))
    holder = m.one(submit(m, key="nightly"), after_us=DAY_US).id if other else task_id
    if trimmed:
        m.one(Command(history_trim=HistoryTrim(submit_keys=["nightly"])), after_us=DAY_US)
        assert (Key(Table.SUBMIT_KEYS, "nightly") in m.rows) == other
    m.one(retry(task_id), after_us=DAY_US)
    reply = m.one(submit(m, key="nightly", retry=None if other else no_retry))
    assert (reply.id, reply.deduplicated) == (holder, True)


def test_a_key_that_stands_is_not_trimmed() -> None:
    m = cluster()
    trim = Command(history_trim=HistoryTrim(submit_keys=["nightly", "unknown"]))
    task_id, fence = m.running(key="nightly")
    m.one(trim, after_us=9 * DAY_US)
    m.one(complete(task_id, fence))
    m.one(trim, after_us=DAY_US - 1)
    assert Key(Table.SUBMIT_KEYS, "nightly") in m.rows
    m.one(trim, after_us=1)
    assert Key(Table.SUBMIT_KEYS, "nightly") not in m.rows
    assert m.last_events()[0].detail == "1 submit keys"
    assert m.task(task_id).submit_key == "nightly"


def test_trim_takes_the_key_with_its_task() -> None:
    m = cluster()
    task_id, fence = m.running(key="nightly")
    m.one(complete(task_id, fence))
    trim = Command(history_trim=HistoryTrim(before_us=m.now_us + 9 * DAY_US, ids=[task_id]))
    m.one(trim, after_us=DAY_US - 1)
    assert Key(Table.TASKS, task_id) in m.rows
    m.one(trim, after_us=1)
    assert Key(Table.TASKS, task_id) not in m.rows
    assert Key(Table.SUBMIT_KEYS, "nightly") not in m.rows


def test_trim_leaves_the_key_of_another_task() -> None:
    m = cluster()
    task_id, fence = m.running(key="nightly")
    m.one(complete(task_id, fence))
    new = m.one(submit(m, key="nightly"), after_us=DAY_US).id
    m.one(Command(history_trim=HistoryTrim(before_us=m.now_us, ids=[task_id])))
    assert m.one(submit(m, key="nightly")).id == new


# Batches


def test_a_batch_is_accepted_in_order() -> None:
    m = cluster()
    commands = [submit(m) for _ in range(3)]
    replies = m.apply(*commands).commands
    assert [reply.id for reply in replies] == [command.task_submit.id for command in commands]
    assert [event.task for event in m.last_events()] == [reply.id for reply in replies]
    assert m.state.live_count() == 3


def test_one_bad_item_refuses_all_and_is_named() -> None:
    m = cluster()
    commands = [submit(m) for _ in range(3)]
    commands[1].task_submit.priority = 99
    replies = m.apply(*commands).commands
    assert [reply.accepted for reply in replies] == [False] * 3
    assert "priority is 99" in replies[1].message
    assert replies[0].message == f"Nothing of the batch was accepted. Line 2: {replies[1].message}"
    assert m.state.live_count() == 0
    assert len(m.last_events()) == 1


def test_keys_within_a_batch() -> None:
    m = cluster()
    first = submit(m, key="k")
    replies = m.apply(first, submit(m, key="k")).commands
    assert [reply.deduplicated for reply in replies] == [False, True]
    assert replies[1].id == first.task_submit.id
    replies = m.apply(submit(m, key="j"), submit(m, b"other", key="j")).commands
    assert [reply.code for reply in replies] == [Code.ALREADY_EXISTS] * 2


def test_an_id_twice_in_a_batch() -> None:
    m = cluster()
    command = submit(m)
    replies = m.apply(command, command).commands
    assert [reply.code for reply in replies] == [Code.ALREADY_EXISTS] * 2


# Depth


def test_depth_is_checked_for_the_whole_batch() -> None:
    m = cluster()
    limit(m, 5)
    m.apply(*(submit(m) for _ in range(3)))
    replies = m.apply(*(submit(m) for _ in range(3))).commands
    assert {reply.code for reply in replies} == {Code.QUEUE_FULL}
    assert "3 tasks" in replies[0].message
    assert "5" in replies[0].message
    assert all(reply.accepted for reply in m.apply(*(submit(m) for _ in range(2))).commands)
    assert m.one(submit(m)).code == Code.QUEUE_FULL


def test_depth_counts_what_has_not_ended() -> None:
    m = cluster()
    limit(m, 1)
    task_id, fence = m.running()
    assert m.one(submit(m)).code == Code.QUEUE_FULL
    replies = m.apply(complete(task_id, fence), submit(m)).commands
    assert [reply.accepted for reply in replies] == [True, True]


def test_a_full_queue_is_no_answer_to_keep() -> None:
    m = cluster()
    limit(m, 1)
    task_id = m.submit()
    assert m.apply(submit(m), client="ann", request_id="r1").commands[0].code == Code.QUEUE_FULL
    m.one(cancel(task_id))
    assert m.task(task_id).state == CANCELLED
    again = m.apply(submit(m), client="ann", request_id="r1")
    assert not again.repeated_request
    assert again.commands[0].accepted


def test_a_deduplicated_submission_needs_no_room() -> None:
    m = cluster()
    limit(m, 1)
    task_id = m.submit(key="k")
    assert m.one(submit(m, key="k")).id == task_id


def test_retries_are_not_held_back_by_the_limit() -> None:
    m, task_id = dead()
    m.submit()
    limit(m, 1)
    assert m.one(retry(task_id)).accepted
    assert m.task(task_id).state == QUEUED


def test_10_000_submissions_in_one_entry_cost_their_number() -> None:
    m = cluster()
    replies = m.apply(*(submit(m) for _ in range(10_000))).commands
    assert all(reply.accepted for reply in replies)
    assert m.state.live_count() == 10_000


def test_depth_sees_what_the_entry_ended_before() -> None:
    m = cluster()
    limit(m, 2)
    ids = [m.submit() for _ in range(2)]
    replies = m.apply(*map(cancel, ids), *(submit(m) for _ in range(3))).commands
    assert [reply.accepted for reply in replies] == [True] * 2 + [False] * 3
    ids = [m.submit() for _ in range(2)]
    replies = m.apply(*map(cancel, ids), *(submit(m) for _ in range(2))).commands
    assert all(reply.accepted for reply in replies)
