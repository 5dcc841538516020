"""The state: digest, eviction, what is derived from rows."""

from __future__ import annotations

from cortex.v1 import types_pb2
from cortex.v1.types_pb2 import Batch, Event, Node, Requests, Setting, StoredReply, SubmitKey, Task
from node.core.model import Key, Table, holds, queue_deadline_us, recount, reply_key, row_digest, row_key
from node.core.state import ClusterState, NodeUse
from tests.core.cluster import cluster, complete, retry
from tests.core.states import dead, running


def test_every_row_has_its_key() -> None:
    assert row_key(Task(id="t")) == Key(Table.TASKS, "t")
    assert row_key(Node(id="n")) == Key(Table.NODES, "n")
    assert row_key(Event(id="7-0")) == Key(Table.EVENTS, "7-0")
    assert row_key(Setting(name="s")) == Key(Table.SETTINGS, "s")
    assert row_key(SubmitKey(key="k")) == Key(Table.SUBMIT_KEYS, "k")
    assert row_key(Batch(client="c", id="b")) == Key(Table.BATCHES, reply_key("c", "b"))
    assert row_key(StoredReply(client="c", request_id="r")) == Key(Table.REPLIES, reply_key("c", "r"))


def test_the_digest_is_a_fixed_function() -> None:
    """What replicas of different versions compare, and what a store holds, must not depend on the version."""
    task = Task(id="t1", state=types_pb2.TASK_STATE_QUEUED, priority=5)
    assert f"{row_digest(Table.TASKS, 't1', task):032x}" == "a50a9ac76ab0cc2eabc9b0afc19add49"


def test_rows_have_no_maps() -> None:
    """The order of a map's items is nobody's promise, so a row with one has no canonical form."""
    seen: set[str] = set()
    waiting = [message.DESCRIPTOR for message in (Task, Node, Event, StoredReply, SubmitKey, Setting, Batch)]
    while waiting:
        message = waiting.pop()
        assert not message.GetOptions().map_entry
        if message.full_name not in seen:
            seen.add(message.full_name)
            waiting += [field.message_type for field in message.fields if field.message_type is not None]
    assert "cortex.v1.ScoreTerms" in seen


def test_the_digest_tells_tables_keys_and_rows_apart() -> None:
    rows = {
        row_digest(Table.TASKS, "a", Task(id="a")),
        row_digest(Table.TASKS, "b", Task(id="a")),
        row_digest(Table.NODES, "a", Node(id="a")),
        row_digest(Table.TASKS, "a", Task(id="a", priority=1)),
    }
    assert len(rows) == 4


def test_the_digest_outlives_eviction_and_load() -> None:
    m, task_id = dead()
    assert task_id not in m.state.tasks
    assert m.state.digest == recount(m.rows.values())
    fresh = ClusterState()
    fresh.load([], m.state.index, 1, m.state.at_us, m.state.digest)
    assert fresh.digest_bytes() == m.state.digest_bytes()
    m.one(retry(task_id))
    assert task_id in m.state.tasks
    assert m.state.digest == recount(m.rows.values())


def test_evict_keeps_what_lives() -> None:
    m, task_id = running()
    m.state.evict([Key(Table.TASKS, task_id), Key(Table.TASKS, "nobody")])
    assert task_id in m.state.tasks
    m.one(complete(task_id, m.task(task_id).fence))
    assert m.state.counts == {}


def test_use_counts_types_and_reservations() -> None:
    m = cluster()
    m.join("n1", capacity=Requests(cpu_millis=9000))
    task_id, fence = m.running(requests=Requests(cpu_millis=500))
    other = m.running()[0]
    assert m.state.use == {"n1": NodeUse({types_pb2.TASK_TYPE_SHELL: 2}, cpu_millis=500)}
    assert m.state.by_node == {"n1": {task_id, other}}
    assert m.state.reserved("n1") == Requests(cpu_millis=500)
    m.one(complete(task_id, fence))
    assert m.state.reserved("n1") == m.state.reserved("n9") == Requests()


def test_holds() -> None:
    m, task_id = running()
    task = m.task(task_id)
    assert holds(task, task.fence)
    assert not holds(task, task.fence + 1)
    m.one(complete(task_id, task.fence))
    assert not holds(m.task(task_id), task.fence)


def test_queue_deadline() -> None:
    spec = types_pb2.TaskSpec(queue_timeout_ms=5)
    assert queue_deadline_us(Task(queued_at_us=10)) is None
    assert queue_deadline_us(Task(queued_at_us=10, spec=spec)) == 5010
    assert queue_deadline_us(Task(queued_at_us=10, scheduled_after_us=100, spec=spec)) == 5100
