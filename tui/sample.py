"""The sample work of `cortex up`: tasks of different lengths and priorities, and one that fails for good."""

from __future__ import annotations

from cortex.v1 import cluster_pb2
from tui.taskspec import task_request

_COUNT = "for i in $(seq 1 {n}); do echo step $i of {n}; sleep {pause}; done"


def sample_tasks() -> list[cluster_pb2.TaskRequest]:
    return [
        task_request(fields)
        for fields in (
            {"name": "hello", "priority": 5, "command": ["echo", "hello from Cortex"]},
            {"name": "count-fast", "priority": 5, "command": _COUNT.format(n=10, pause=0.3)},
            {"name": "count-slow", "priority": 3, "command": _COUNT.format(n=60, pause=1)},
            {"name": "nap", "priority": 1, "command": ["sleep", "20"]},
            {"name": "urgent", "priority": 10, "command": "echo urgent; sleep 2; echo done"},
            {"name": "noisy", "priority": 4, "command": "seq 1 5000; echo a line on stderr >&2"},
            {
                "name": "broken",
                "priority": 6,
                "command": "echo connecting; echo 'error: connection to 10.0.0.7:5432 refused' >&2; exit 3",
                "retry_policy": {"max_retries": 2, "backoff_ms": 500, "jitter": "none"},
            },
        )
    ]
