"""What triage of dead letters costs: causes of all letters, and the pages of one cause.

Run: python -m bench.letters [letters [causes [other tasks]]]
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from bench.store import task_row, timed
from cortex.v1.types_pb2 import Task
from node.core.model import COMPLETED, DEAD_LETTER, Change, Table
from node.store import Store

PAGE = 500
OUTPUT = b"x" * 4096


def letter(number: int, causes: int) -> Task:
    """A dead letter with as much output as the log keeps of a failure that says a lot."""
    row = task_row(number, COMPLETED, 1)
    row.state = DEAD_LETTER
    row.fingerprint = f"{number % causes:016x}"
    row.error = "The command ended with exit code 1."
    row.dead_lettered_at_us = 1_000_000 + number
    row.result.stderr.head, row.result.stderr.tail = OUTPUT, OUTPUT
    return row


def fill(store: Store, letters: int, causes: int, others: int) -> None:
    rows = [letter(number, causes) for number in range(letters)]
    rows += [task_row(letters + number, COMPLETED, 1) for number in range(others)]
    for index, first in enumerate(range(0, len(rows), 5_000), 1):
        changes = [Change(Table.TASKS, row.id, None, row) for row in rows[first : first + 5_000]]
        store.save(changes, index, 1, index, 0)


def all_pages(store: Store, cause: str) -> int:
    after, count = (0, ""), 0
    while page := store.letters(cause, 1 << 60, after, PAGE):
        after, count = (page[-1].at_us, page[-1].id), count + len(page)
    return count


def main(letters: int = 10_000, causes: int = 5, others: int = 100_000) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder) / "state.sqlite")
        store.open()
        fill(store, letters, causes, others)
        print(f"{letters:,} letters of {causes} causes among {others:,} other tasks")
        found = store.list_causes()[0]
        assert (len(found), sum(cause.count for cause in found)) == (min(causes, 100), letters)
        timed("causes of all letters", letters, "letters", store.list_causes)
        timed(
            "letters of one cause, counted",
            letters // causes,
            "letters",
            lambda: store.letter_count("0" * 16, 1 << 60),
        )
        timed(
            "letters of one cause, page by page", letters // causes, "letters", lambda: all_pages(store, "0" * 16)
        )
        store.close()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
