"""Who is to blame: decided from who else fails, and obeyed by apply within a bound."""

from __future__ import annotations

from cortex.v1 import types_pb2
from cortex.v1.types_pb2 import Failure, Task, TaskSpec
from node.core.blame import KEPT_US, Ends

NODE, INPUT, TASK, NOBODY = (
    types_pb2.BLAME_NODE,
    types_pb2.BLAME_INPUT,
    types_pb2.BLAME_TASK,
    types_pb2.BLAME_UNSPECIFIED,
)


def on(node: str, *earlier: str) -> Task:
    return Task(id="t", node=node, failures=[Failure(node=name) for name in earlier])


def ran(command: bytes) -> TaskSpec:
    return TaskSpec(shell_command=command)


def test_a_first_failure_blames_nobody() -> None:
    assert Ends().failed(on("n1"), b"make all", 0) == NOBODY


def test_a_node_where_different_commands_fail_that_succeed_elsewhere() -> None:
    ends = Ends()
    ends.succeeded("n2", ran(b"make all"), 1)
    ends.succeeded("n2", ran(b"pytest -q"), 1)
    assert ends.failed(on("n1"), b"make all", 2) == NOBODY, "one command is no pattern"
    assert ends.failed(on("n1"), b"pytest -q", 3) == NODE


def test_a_command_that_fails_everywhere_does_not_make_a_node_guilty() -> None:
    ends = Ends()
    ends.succeeded("n2", ran(b"make all"), 1)
    ends.failed(on("n2"), b"pytest -q", 1)
    assert ends.failed(on("n1"), b"pytest -q", 2) == NOBODY
    assert ends.failed(on("n1"), b"make all", 3) == NOBODY, "nothing else fails only there"


def test_a_success_on_the_node_clears_it() -> None:
    ends = Ends()
    for command in (b"make all", b"pytest -q"):
        ends.succeeded("n2", ran(command), 1)
    ends.failed(on("n1"), b"make all", 2)
    ends.succeeded("n1", ran(b"make all"), 3)
    assert ends.failed(on("n1"), b"pytest -q", 4) == NOBODY


def test_what_failed_on_several_nodes_is_the_task_s_own() -> None:
    ends = Ends()
    for command in (b"make all", b"pytest -q"):
        ends.succeeded("n3", ran(command), 1)
    ends.failed(on("n1"), b"make all", 2)
    assert ends.failed(on("n1", "n2"), b"pytest -q", 3) == TASK


def test_other_arguments_succeed() -> None:
    ends = Ends()
    ends.succeeded("n1", ran(b"convert 17.png"), 1)
    assert ends.failed(on("n1"), b"convert 18.png", 2) == INPUT
    assert ends.failed(on("n2", "n1"), b"convert 18.png", 3) == INPUT


def test_the_same_arguments_that_succeeded_before_are_no_bad_input() -> None:
    ends = Ends()
    ends.succeeded("n1", ran(b"convert 18.png"), 1)
    assert ends.failed(on("n2"), b"convert 18.png", 2) == NOBODY


def test_what_is_long_ago_does_not_count() -> None:
    ends = Ends()
    ends.succeeded("n1", ran(b"convert 17.png"), 1)
    assert ends.failed(on("n1"), b"convert 18.png", 2 + KEPT_US) == NOBODY


def test_a_guilty_node_is_trusted_again_after_good_ends_in_a_row() -> None:
    ends = Ends()
    for command in (b"make all", b"pytest -q"):
        ends.succeeded("n2", ran(command), 1)
        ends.failed(on("n1"), command, 2)
    for _ in range(4):
        ends.succeeded("n1", ran(b"true"), 3)
        assert not ends.trusted("n1")
    ends.succeeded("n1", ran(b"true"), 4)
    assert ends.trusted("n1")
    assert not ends.trusted("n1"), "said once"


def test_the_window_is_bounded() -> None:
    ends = Ends()
    for number in range(2_000):
        ends.failed(on(f"n{number % 300}"), b"x" * (number % 1999 + 1), number)
    assert len(ends._templates) <= 500
    assert all(len(seen.nodes) <= 50 for seen in ends._templates.values())
