"""Fingerprints: equal for the same way to fail, different for another."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cortex.v1 import types_pb2
from cortex.v1.types_pb2 import StreamSummary, TaskResult
from node.core.deadletter import command_template, error_tail, fingerprint, normalise


def result(stderr: str = "", exit_code: int = 1, stdout: str = "") -> TaskResult:
    return TaskResult(
        exit_code=exit_code, stderr=StreamSummary(tail=stderr.encode()), stdout=StreamSummary(tail=stdout.encode())
    )


def of(stderr: str, command: str = "make all", exit_code: int = 2) -> str:
    return fingerprint(command, result(stderr, exit_code), types_pb2.CAUSE_EXIT)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("took 12.5 s", "took 3 s"),
        ("2026-01-02T03:04:05.678Z failed", "2025-11-12 13:14:15,1 failed"),
        ("at 03:04:05 failed", "at 23:59:59.9 failed"),
        ("no such file /tmp/a1/b.txt", "no such file /var/lib/x/y/z.log"),
        ("cannot reach 10.0.0.1:8080", "cannot reach 192.168.1.77:9"),
        ("cannot reach [fe80::1]:80", "cannot reach [::1]:443"),
        ("cannot reach http://a.example/x?y=1", "cannot reach https://b.example:81/"),
        ("segfault at 0x7ffe0012", "segfault at 0xdeadbeef"),
        ("object 3f2504e0-4f89-11d3-9a0c-0305e82c3301 gone", "object 9b2d04e0-0000-41d3-8a0c-1305e82c3301 gone"),
        ("commit 9fceb02d0ae598e95dc970b74767f19372d61af8", "commit e83c5163316f89bfbde7d9ab23ca2e25604af290"),
        ("task 01jf3k2m9qabc7de lost", "task 01jf3k2m9zzzz8xy lost"),
        ("\x1b[31merror\x1b[0m", "error"),
        ("a   b\tc", "a b c"),
    ],
)
def test_what_differs_between_runs_does_not_count(one: str, other: str) -> None:
    assert normalise(one) == normalise(other)
    assert of(one) == of(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("connection refused", "connection reset"),
        ("disk full", "quota exceeded"),
        ("no module named a", "KeyError"),
    ],
)
def test_another_error_counts(one: str, other: str) -> None:
    assert of(one) != of(other)


def test_exit_signal_cause_and_command_count() -> None:
    base = of("boom")
    assert len(base) == 16
    assert of("boom", exit_code=3) != base
    assert of("boom", command="make test") != base
    assert fingerprint("make all", result("boom", 2), types_pb2.CAUSE_TIMEOUT) != base
    killed = TaskResult(signal=9, stderr=StreamSummary(tail=b"boom"))
    assert fingerprint("make all", killed, types_pb2.CAUSE_SIGNAL) != base


def test_exit_0_is_not_no_exit_code() -> None:
    cause = types_pb2.CAUSE_TIMEOUT
    assert fingerprint("a", TaskResult(exit_code=0), cause) != fingerprint("a", TaskResult(), cause)


def test_command_template_keeps_the_program() -> None:
    assert command_template("/usr/bin/convert in-001.png /tmp/x/out.png") == ("/usr/bin/convert in-<n>.png <path>")
    assert command_template("") == ""


def test_error_tail_is_the_last_lines_of_stderr_then_of_stdout() -> None:
    assert error_tail(result("\n".join(f"line {n}" for n in range(9)))) == "line 4\nline 5\nline 6\nline 7\nline 8"
    assert error_tail(result("  \n", stdout="only here")) == "only here"
    assert error_tail(TaskResult()) == ""


@settings(max_examples=100)
@given(st.text(max_size=300), st.binary(max_size=300))
def test_anything_has_a_fingerprint(command: str, tail: bytes) -> None:
    found = fingerprint(command, TaskResult(stderr=StreamSummary(head=tail)), types_pb2.CAUSE_EXIT)
    assert len(found) == 16


def test_hostile_tails_cost_little() -> None:
    """No pattern may look at a character more than a few times: 4 KiB of each kind of near miss."""
    for text in ("a" * 9000, "/" * 9000, "1" * 9000, "0:" * 4500, "a1" * 4500, "-" * 9000, " " * 9000, "[:" * 4500):
        assert len(of(text)) == 16
