"""Many dead letters of a few causes, for the console."""

from __future__ import annotations

from cortex.v1 import types_pb2
from tests.tui import fake

CAUSES = (
    (2, "psql: password authentication failed for user report", types_pb2.BLAME_TASK),
    (28, "write /srv/cache: no space left on device", types_pb2.BLAME_NODE),
    (65, "line 7: unexpected end of input", types_pb2.BLAME_INPUT),
    (101, "thread main panicked at index out of bounds", types_pb2.BLAME_TASK),
    (111, "connection refused", types_pb2.BLAME_UNSPECIFIED),
)
NODES = ("anvil", "birch", "cedar")


def letter(number: int, cause: int) -> types_pb2.Task:
    code, error, blame = CAUSES[cause]
    row = fake.task(
        number, f"job-{number:03d}", fake.DEAD, f"./job.sh --part {number}", node=NODES[number % 3], attempt=3,
        created_s=4000, started_s=3600 - number, ended_s=3590 - number, exit_code=code, error=error,
    )  # fmt: skip
    row.fingerprint = fingerprint(cause)
    row.blame = blame
    for attempt in range(3):
        row.failures.add(
            run=1, attempt=attempt, node=NODES[(number + attempt) % 3], cause=types_pb2.CAUSE_EXIT, exit_code=code,
            at_us=row.completed_at_us - (3 - attempt) * 10 * fake.SECOND_US, error=error,
        )  # fmt: skip
    return row


def fingerprint(cause: int) -> str:
    return f"{CAUSES[cause][0]:03d}a9c41e77"


def letters(count: int = 500, causes: int = 5) -> list[types_pb2.Task]:
    """As many of each cause."""
    return [letter(number, number % causes) for number in range(1, count + 1)]
