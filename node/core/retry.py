"""How long to wait before a retry."""

from __future__ import annotations

import math
from random import Random

from cortex.v1 import types_pb2
from cortex.v1.types_pb2 import RetryPolicy
from node.core.checks import DURATION_LIMIT_MS

_PUT_OFF_US = 10_000_000
_PUT_OFF_CAP_US = 600_000_000


def draw_delay_us(policy: RetryPolicy, attempt: int, random: Random) -> int:
    """Microseconds from the failure of `attempt`, which counts from 0, to its retry; at most the policy's cap.

    The backoff is multiplied for each attempt before, capped, then jittered.
    """
    cap_us = max(policy.max_backoff_ms, 0) * 1000
    delay_us = min(cap_us, _backoff_us(policy, attempt))
    if policy.jitter == types_pb2.JITTER_NONE:
        return delay_us
    if policy.jitter == types_pb2.JITTER_EQUAL:
        return random.randint(delay_us // 2, delay_us)
    return random.randint(0, delay_us)


def draw_put_off_us(put_offs: int, retry_after_ms: int, random: Random) -> int:
    """Microseconds for which a task waits for a service that was busy or away `put_offs` times before in its run.

    What the service asked for, else 10 s, doubled each time up to 10 minutes, with equal jitter; never less than
    what it asked for.
    """
    asked_us = min(max(retry_after_ms, 0), DURATION_LIMIT_MS) * 1000
    backoff_us = min((asked_us or _PUT_OFF_US) << min(put_offs, 10), _PUT_OFF_CAP_US)
    return max(asked_us, random.randint(backoff_us // 2, backoff_us))


def _backoff_us(policy: RetryPolicy, attempt: int) -> int:
    try:
        delay_us = policy.backoff_ms * 1000 * policy.backoff_multiplier**attempt
    except OverflowError:
        delay_us = math.inf
    # Far beyond any cap, and still a number that int() takes.
    return int(min(max(delay_us, 0.0), 1e18)) if not math.isnan(delay_us) else 0
