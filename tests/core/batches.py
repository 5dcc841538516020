"""Batches as they are completed before the log."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from cortex.v1.cluster_pb2 import TaskRequest
from cortex.v1.log_pb2 import TaskSubmit
from node.rpc.batch import checked


def complete_batch(requests: Sequence[TaskRequest], new_id: Callable[[], str]) -> list[TaskSubmit]:
    """What SubmitBatch makes of its requests. Raises Fault."""
    return asyncio.run(checked(requests, new_id))
