"""--linearizable: every verb that reads can ask for it, and what it asks the cluster says so."""

from __future__ import annotations

import pytest

from tests.tui.command_line import CommandLine
from tests.tui.fake_cluster import FakeCluster, Refusal

READS = {
    ("tasks",): "ListTasks",
    ("nodes",): "ListNodes",
    ("events",): "ListEvents",
    ("operations",): "ListOperations",
    ("dead-letters", "--group"): "ListCauses",
    ("workflow", "list"): "ListWorkflows",
}


@pytest.mark.parametrize("read", READS)
async def test_a_read_asks_for_it(cortex: CommandLine, cluster: FakeCluster, read: tuple[str, ...]) -> None:
    plain = await cortex(*read)
    assert plain.code == 0, plain.err
    strict = await cortex(*read, "--linearizable")
    assert strict.code == 0, strict.err
    asked = [request.freshness.linearizable for method, request in cluster.calls if method == READS[read]]
    assert asked == [False, True]


async def test_what_no_quorum_confirms_is_refused(cortex: CommandLine, cluster: FakeCluster) -> None:
    cluster.refuse["ListTasks"] = Refusal("no_leader", "No leader is known.", "Try again.")
    ran = await cortex("tasks", "--linearizable")
    assert (ran.code, ran.text) == (4, "")
    assert ran.err == "cortex: No leader is known.\nTry again.\n"


async def test_a_verb_that_changes_something_has_no_such_option(cortex: CommandLine) -> None:
    ran = await cortex("cordon", "n1", "--linearizable")
    assert ran.code == 2
