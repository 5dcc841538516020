"""The sample work of `cortex up`: tasks of several lengths and priorities, one that fails for good, a workflow."""

from __future__ import annotations

from cortex.v1 import cluster_pb2
from tui.workflow import Workflow
from tui.written.taskspec import task_request

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


def sample_workflow() -> cluster_pb2.SubmitWorkflowRequest:
    made = Workflow("release", context={"channel": "beta"})
    made.task("lint", "sleep 1; echo 0 problems")
    made.task("test", "sleep 2; echo 12 passed, 0 failures")
    made.task("build", "sleep 3; echo built", depends_on=["lint", "test"])
    made.task("check", ["echo", "checked on {{item}}"], depends_on=["build"], map=["arm", "x86", "riscv"])
    made.task(
        "deploy",
        "sleep 2; echo deployed",
        depends_on=["check", "test"],
        condition="/0 failures/.test(parent.test.stdout) && workflow.context.channel === 'beta'",
    )
    made.task("page", "echo somebody look", depends_on=["deploy"], rule="one_failed")
    made.task("clean", "echo cleaned", finally_=True)
    return made.request()
