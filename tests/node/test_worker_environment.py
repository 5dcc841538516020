"""The page about environment variables says of a command's what a real one gets, no more and no less."""

from __future__ import annotations

import re
from pathlib import Path

from cortex.v1 import worker_pb2 as w
from tests.node.test_worker_real import ENVIRONMENT, machine
from tests.node.worker_kit import assignment

PAGE = Path(__file__).resolve().parents[2] / "docs" / "environment.md"


def documented() -> set[str]:
    """Names in the table of what commands get."""
    section = PAGE.read_text().partition("## Of a command")[2].partition("\n## ")[0]
    return set(re.findall(r"^\| `(CORTEX_[A-Z_]+)` \|", section, re.MULTILINE))


async def environment(folder: Path, **fields: str) -> dict[str, str]:
    """What a command finds in its environment."""
    async with machine(folder) as here:
        side = await here.session()
        order = assignment(argv=[b"env", b"-0"])
        order.MergeFrom(w.Assignment(attempt=2, **fields))
        await side.assign(order)
        while True:
            batch = await side.next("reports")
            for report in batch.reports:
                if report.HasField("ended"):
                    words = report.ended.result.stdout.head.decode().split("\0")
                    return dict(word.partition("=")[::2] for word in words if word)


async def test_a_command_of_a_workflow_gets_what_is_documented(tmp_path: Path) -> None:
    found = await environment(tmp_path, workflow_id="w1", task_key="build")
    assert {name for name in found if name.startswith("CORTEX_")} == documented()
    assert set(found) - documented() <= set(ENVIRONMENT)
    assert (found["CORTEX_TASK"], found["CORTEX_FENCE"]) == ("t1", "10")
    assert (found["CORTEX_RUN"], found["CORTEX_ATTEMPT"]) == ("1", "2")
    assert (found["CORTEX_WORKFLOW"], found["CORTEX_TASK_KEY"]) == ("w1", "build")


async def test_another_one_gets_nothing_of_workflows(tmp_path: Path) -> None:
    found = await environment(tmp_path)
    of_workflows = {"CORTEX_WORKFLOW", "CORTEX_TASK_KEY", "CORTEX_CONTEXT_UPDATE"}
    assert {name for name in found if name.startswith("CORTEX_")} == documented() - of_workflows
