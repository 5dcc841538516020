"""Delays before a retry."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cortex.v1 import types_pb2
from cortex.v1.cluster_pb2 import TaskRequest
from cortex.v1.types_pb2 import RetryPolicy, TaskSpec
from node.core import validate
from node.core.retry import draw_delay_us


def default_policy(**fields: object) -> RetryPolicy:
    spec = TaskSpec(argv=[b"true"], retry=RetryPolicy(**fields))  # type: ignore[arg-type]
    return validate.complete(TaskRequest(spec=spec), "t1").spec.retry


def test_defaults() -> None:
    policy = default_policy()
    assert (policy.max_retries, policy.backoff_ms, policy.backoff_multiplier) == (3, 1000, 2.0)
    assert (policy.max_backoff_ms, policy.jitter, policy.retryable) == (60_000, types_pb2.JITTER_FULL, True)


def test_without_jitter_1_2_4_seconds_up_to_the_cap() -> None:
    policy = default_policy(jitter=types_pb2.JITTER_NONE)
    delays = [draw_delay_us(policy, attempt, Random(0)) for attempt in range(8)]
    assert delays == [second * 1_000_000 for second in (1, 2, 4, 8, 16, 32, 60, 60)]


@pytest.mark.parametrize(
    ("jitter", "low_us", "high_us"),
    [(types_pb2.JITTER_FULL, 0, 4_000_000), (types_pb2.JITTER_EQUAL, 2_000_000, 4_000_000)],
)
def test_jitter_spreads_over_its_range(jitter: types_pb2.Jitter.ValueType, low_us: int, high_us: int) -> None:
    policy, random = default_policy(jitter=jitter), Random(7)
    delays = [draw_delay_us(policy, 2, random) for _ in range(2000)]
    spread_us = high_us - low_us
    assert low_us <= min(delays) < low_us + spread_us // 50
    assert high_us - spread_us // 50 < max(delays) <= high_us


def test_same_seed_same_delay() -> None:
    policy = default_policy()
    assert draw_delay_us(policy, 3, Random(5)) == draw_delay_us(policy, 3, Random(5))


@settings(max_examples=200)
@given(
    st.builds(
        RetryPolicy,
        backoff_ms=st.integers(-(2**63), 2**63 - 1),
        backoff_multiplier=st.floats(),
        max_backoff_ms=st.integers(-(2**63), 2**63 - 1),
        jitter=st.sampled_from([0, 1, 2, 3]),
    ),
    st.integers(0, 2**31),
)
def test_any_policy_gives_a_delay_within_its_cap(policy: RetryPolicy, attempt: int) -> None:
    delay_us = draw_delay_us(policy, attempt, Random(0))
    assert 0 <= delay_us <= max(policy.max_backoff_ms, 0) * 1000
