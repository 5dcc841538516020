"""The checker of histories: against every order of small ones, and on what it must tell apart."""

from __future__ import annotations

from itertools import pairwise, permutations

from hypothesis import given
from hypothesis import strategies as st

from tests.sim.linearizable import History, Operation

OPERATIONS = st.lists(st.tuples(st.integers(0, 8), st.integers(1, 4), st.integers(0, 4)), min_size=1, max_size=5)


class Clock:
    now_s = 0.0


def history(*operations: Operation) -> History:
    clock = Clock()
    found = History(lambda: clock.now_s)
    for operation in operations:
        clock.now_s = operation.ended_s
        found.end(operation, operation.version, operation.content)
    return found


def explained(operations: list[Operation]) -> bool:
    """Whether some order keeps real time, and versions never go back in it."""
    return any(
        all(not later.ended_s < earlier.begun_s for at, earlier in enumerate(order) for later in order[at + 1 :])
        and all(one.version <= two.version for one, two in pairwise(order))
        for order in permutations(operations)
    )


@given(OPERATIONS)
def test_it_finds_what_no_order_explains(shapes: list[tuple[int, int, int]]) -> None:
    operations = [Operation("x", "read", begun, begun + length, version) for begun, length, version in shapes]
    assert (not list(history(*operations).violations())) == explained(operations)


def test_a_read_that_goes_back_is_found() -> None:
    write, stale = Operation("x", "write", 0, 1, 7), Operation("x", "read", 2, 3, 6)
    (said,) = history(write, stale).violations()
    assert "read of x" in said
    assert "version 6" in said
    assert not list(history(write, Operation("x", "read", 0.5, 3, 6)).violations())


def test_two_contents_of_one_version_are_found() -> None:
    one, two = Operation("x", "read", 0, 1, 3, b"a"), Operation("x", "read", 0, 1, 3, b"b")
    (said,) = history(one, two).violations()
    assert "differ" in said


def test_objects_are_apart() -> None:
    assert not list(history(Operation("x", "read", 0, 1, 9), Operation("y", "read", 2, 3, 1)).violations())
