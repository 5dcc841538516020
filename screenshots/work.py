"""What runs on the cluster of the pictures."""

from __future__ import annotations

from typing import Any

_FAILURES = (
    ("sync-attic", "rsync: connect to attic failed: Connection refused (111)", 10, 3),
    ("sync-cellar", "rsync: connect to cellar failed: Connection refused (111)", 10, 2),
    ("backup-db", "pg_dump: could not write to file: No space left on device", 1, 9),
    ("fetch-feed", "KeyError: 'published'", 1, 14),
    ("send-report", "550 5.1.1 mailbox unavailable", 69, 4),
)


def _failing() -> list[dict[str, Any]]:
    return [
        {
            "name": name if not number else f"{name}-{number}",
            "priority": 9,
            "command": f'echo "{said}" >&2; exit {code}',
            "retry_policy": {"max_retries": 0},
        }
        for name, said, code, count in _FAILURES
        for number in range(count)
    ]


WORK: list[dict[str, Any]] = [
    {
        "name": "nightly-backup",
        "priority": 8,
        "command": "for i in $(seq 240); do echo part $i of 240; sleep 1; done",
    },
    {"name": "render", "priority": 8, "command": "for i in $(seq 600); do echo frame $i; sleep 0.4; done"},
    {"name": "index-photos", "priority": 8, "command": "sleep 240", "retries": 5, "timeout": "10m"},
    {"name": "train-small", "priority": 8, "command": "sleep 90", "gpu": True},
    {"name": "fetch-feeds", "priority": 3, "command": "echo 14 feeds, 3 new", "key": "feeds-today"},
    *_failing(),
    *({"name": f"thumbs-{number:02}", "priority": 2, "command": f"sleep {5 + number}"} for number in range(20)),
]
FLOW = """
name: release
tasks:
  fetch: {priority: 9, command: echo 1204 commits}
  lint: {priority: 9, command: echo clean, depends_on: [fetch]}
  unit: {priority: 9, command: "echo 2 of 412 tests failed >&2; exit 1", depends_on: [fetch], retries: 0}
  build: {priority: 9, command: "echo {{item}}", map: {over: [deb, rpm, oci, tgz]}, depends_on: [fetch]}
  docs: {priority: 9, command: sleep 200, depends_on: [lint]}
  sign: {priority: 9, command: echo signed, depends_on: [build, unit]}
  deploy: {priority: 9, command: echo out, depends_on: [sign, docs]}
  notify: {priority: 9, command: echo told, finally: true}
"""
