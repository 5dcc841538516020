"""Reading operations and the causes of dead letters: what is found, in which order, by which index."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from random import Random

import pytest

from cortex.v1 import types_pb2
from cortex.v1.types_pb2 import Operation, Task
from node.core.faults import Fault
from node.core.model import CANCELLED, COMPLETED, DEAD_LETTER, Change, Row, row_key
from node.core.operations import DONE, RUNNING, SCHEDULED
from node.store import Store
from tests.node.test_store_plans import plans_of

BY_CAUSE = "te_tasks USING INDEX te_tasks_by_cause"
CAUSES = ("lost", "aaaa", "aabb", "ffff")


def letter(number: int, cause: str, node: str = "n1", died_us: int = 0) -> Task:
    return Task(
        id=f"t{number:05}",
        state=DEAD_LETTER,
        fingerprint=cause,
        node=node,
        created_index=number + 1,
        dead_lettered_at_us=died_us or 1000 + number,
        error=f"error {number}",
    )


def operation(number: int, state: types_pb2.OperationState.ValueType) -> Operation:
    ended_us = number if state == DONE else 0
    return Operation(id=f"op{number:03}", state=state, created_index=number, ended_at_us=ended_us)


def save(store: Store, rows: Sequence[Row]) -> None:
    store.save([Change(*row_key(row), None, row) for row in rows], 600, 1, 1, 0)


@pytest.fixture
def store() -> Iterator[Store]:
    opened = Store(":memory:")
    opened.open()
    yield opened
    opened.close()


def test_causes_are_counted_most_first(store: Store) -> None:
    rows: list[Row] = [letter(n, "aaaa", node="n1" if n % 3 else "n2", died_us=500 - n) for n in range(9)]
    rows += [letter(n, "ffff", node="n9") for n in range(20, 23)]
    rows += [letter(30, "aabb"), letter(31, "lost")]
    rows.append(Task(id="good", state=COMPLETED, fingerprint="aaaa", created_index=99))
    save(store, rows)
    causes, index = store.list_causes()
    assert index == 600
    assert [(cause.fingerprint, cause.count) for cause in causes] == [
        ("aaaa", 9),
        ("ffff", 3),
        ("aabb", 1),
        ("lost", 1),
    ]
    first = causes[0]
    assert (first.first_at_us, first.last_at_us, first.nodes) == (492, 500, ["n1", "n2"])
    assert first.sample is not None
    assert (first.sample.id, first.sample.error) == ("t00000", "error 0")
    assert [cause.fingerprint for cause in store.list_causes(2)[0]] == ["aaaa", "ffff"]
    with pytest.raises(Fault, match="limit is 1001"):
        store.list_causes(1001)


def test_ten_nodes_of_a_cause_are_named(store: Store) -> None:
    save(store, [letter(n, "aaaa", node=f"n{n:02}") for n in range(30)])
    assert store.list_causes()[0][0].nodes == [f"n{n:02}" for n in range(10)]


def test_prefixes(store: Store) -> None:
    save(store, [*(letter(n, cause) for n, cause in enumerate(CAUSES)), operation(1, DONE), operation(12, RUNNING)])
    assert store.causes_with_prefix("aa") == ["aaaa", "aabb"]
    assert store.causes_with_prefix("lo") == ["lost"]
    assert store.causes_with_prefix("b") == []
    assert store.operation_ids_with_prefix("op0") == ["op001", "op012"]
    assert store.operation_ids_with_prefix("op01") == ["op012"]


@pytest.mark.parametrize("seed", range(5))
def test_letters_of_a_cause_page_by_page(store: Store, seed: int) -> None:
    random = Random(seed)
    rows = [letter(n, random.choice(CAUSES), died_us=random.randint(1, 40)) for n in range(200)]
    save(store, rows)
    for cause in CAUSES:
        wanted = sorted((row.dead_lettered_at_us, row.id) for row in rows if row.fingerprint == cause)
        wanted = [item for item in wanted if item[0] <= 30]
        assert store.letter_count(cause, 30) == len(wanted)
        found: list[tuple[int, str]] = []
        after = (0, "")
        while page := store.letters(cause, 30, after, 7):
            found += [(item.at_us, item.id) for item in page]
            after = found[-1]
        assert found == wanted


def test_letters_of_a_cause_are_listed_latest_first(store: Store) -> None:
    save(store, [letter(n, "aaaa" if n % 2 else "ffff") for n in range(10)])
    first = store.list_letters("aaaa", 3)
    assert [row.id for row in first.tasks] == ["t00009", "t00007", "t00005"]
    assert (first.total, first.index) == (5, 600)
    rest = store.list_letters("aaaa", 3, first.next_cursor)
    assert ([row.id for row in rest.tasks], rest.next_cursor) == (["t00003", "t00001"], "")


def test_what_was_cancelled_of_an_operation_is_counted(store: Store) -> None:
    ends = [("op1", CANCELLED), ("op1", COMPLETED), ("op1", CANCELLED), ("op2", CANCELLED), ("", CANCELLED)]
    save(store, [Task(id=f"t{n}", state=state, operation=of) for n, (of, state) in enumerate(ends)])
    assert [store.cancelled_count(name) for name in ("op1", "op2", "op3")] == [2, 1, 0]


def test_operations_are_listed_newest_first(store: Store) -> None:
    live = {3: SCHEDULED, 8: RUNNING}
    save(store, [operation(n, live.get(n, DONE)) for n in range(1, 11)])
    first = store.list_operations(limit=4)
    assert [row.id for row in first.operations] == ["op010", "op009", "op008", "op007"]
    second = store.list_operations(limit=100, cursor=first.next_cursor)
    assert [row.id for row in second.operations] == [f"op{n:03}" for n in range(6, 0, -1)]
    assert second.next_cursor == ""
    assert [row.id for row in store.list_operations(live=True).operations] == ["op008", "op003"]
    assert [item.id for item in store.ended_operations(6, 3)] == ["op001", "op002", "op004"]
    assert store.ended_operation_count() == 8
    with pytest.raises(Fault, match="cursor"):
        store.list_operations(cursor="nonsense!")


READS: dict[str, tuple[Callable[[Store], object], set[str]]] = {
    "causes": (
        lambda store: store.list_causes(),
        {
            f"SCAN {BY_CAUSE}",
            f"SEARCH {BY_CAUSE} (fingerprint=?)",
        },
    ),
    "letters": (
        lambda store: store.letters("aaaa", 9, (5, "t"), 500),
        {f"SEARCH {BY_CAUSE} (fingerprint=? AND (dead_lettered_at,id)>(?,?))"},
    ),
    "letter count": (
        lambda store: store.letter_count("aaaa", 9),
        {f"SEARCH {BY_CAUSE} (fingerprint=? AND dead_lettered_at<?)"},
    ),
    "cancelled of an operation": (
        lambda store: store.cancelled_count("op1"),
        {"SEARCH te_tasks USING INDEX te_tasks_by_operation (operation=?)"},
    ),
    "letters, latest first": (
        lambda store: store.list_letters("aaaa"),
        {
            f"SEARCH {BY_CAUSE} (fingerprint=? AND (dead_lettered_at,id)<(?,?))",
            f"SEARCH {BY_CAUSE} (fingerprint=?)",
        },
    ),
    "cause prefix": (
        lambda store: store.causes_with_prefix("aa"),
        {f"SEARCH {BY_CAUSE} (fingerprint>? AND fingerprint<?)"},
    ),
    "operations": (
        lambda store: store.list_operations(),
        {"SEARCH operations USING INDEX operations_newest ((created_index,id)<(?,?))"},
    ),
    "operation prefix": (
        lambda store: store.operation_ids_with_prefix("op"),
        {"SEARCH operations USING COVERING INDEX sqlite_autoindex_operations_1 (id>? AND id<?)"},
    ),
    "ended operations": (
        lambda store: store.ended_operations(9, 100),
        {"SEARCH operations USING COVERING INDEX operations_ended (ended_at>? AND ended_at<?)"},
    ),
}
# Few rows, sorted after they were counted: causes by their count, nodes of one cause likewise.
SORTS = {"USE TEMP B-TREE FOR ORDER BY", "USE TEMP B-TREE FOR GROUP BY"}


@pytest.mark.parametrize("name", READS)
def test_plan(store: Store, name: str) -> None:
    rows: list[Row] = [letter(n, CAUSES[n % 4]) for n in range(400)]
    save(store, [*rows, *(operation(n, DONE) for n in range(1, 100))])
    read, wanted = READS[name]
    lines = {line for plan in plans_of(store, lambda: read(store)).values() for line in plan}
    sorts = {"SCAN meta"} | (SORTS if name == "causes" else set())
    assert wanted <= lines
    assert lines <= wanted | sorts
