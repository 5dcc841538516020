"""Lists without a terminal: the console's columns, filters and order, as tables and as CSV."""

from __future__ import annotations

import csv
import io
import json

import pytest

from cortex.v1 import types_pb2
from tests.tui.command_line import CommandLine, Ran
from tests.tui.fake_cluster import FakeCluster
from tests.tui.test_operation_verbs import letter

LISTS = ("nodes", "tasks", "workflows", "dead-letters", "events", "operations")


def rows_of(ran: Ran) -> list[dict[str, str]]:
    assert ran.code == 0, ran.err
    return list(csv.DictReader(io.StringIO(ran.text, newline=""), strict=True))


@pytest.mark.parametrize("verb", LISTS)
async def test_each_view_has_each_form(cortex: CommandLine, cluster: FakeCluster, verb: str) -> None:
    letter(cluster, "t0")
    await cortex("retry", "t0")
    for form in ("table", "wide", "csv", "json"):
        ran = await cortex(verb, "-o", form)
        assert (ran.code, ran.err) == (0, ""), form
        assert "\x1b" not in ran.text
    lines = (await cortex(verb, "-o", "csv")).out.split(b"\r\n")
    assert lines[-1] == b""
    assert all(b"\n" not in line for line in lines)
    assert lines[0].islower()


async def test_csv_quotes_what_is_in_names(cortex: CommandLine, cluster: FakeCluster) -> None:
    cluster.add_task("t0", name='a "b", c\x1b[31m')
    (row,) = rows_of(await cortex("tasks", "-o", "csv", "--columns", "name,state"))
    assert row == {"name": 'a "b", c^[[31m', "state": "queued"}


async def test_filter_sort_and_columns_of_nodes(cortex: CommandLine, cluster: FakeCluster) -> None:
    cluster.add_node("n3")
    ran = await cortex("nodes", "--columns", "node,state", "--sort", "node:desc", "--filter", "node!=n2")
    shown = [line.split() for line in ran.text.splitlines()]
    assert [next(word for word in words if word in ("NODE", "n3", "n1")) for words in shown] == ["NODE", "n3", "n1"]
    ran = await cortex("nodes", "--json", "--sort", "node:desc", "--filter", "node!=n2")
    assert [node["id"] for node in ran.document["nodes"]] == ["n3", "n1"]


async def test_tasks_are_sorted_before_they_are_counted(cortex: CommandLine, cluster: FakeCluster) -> None:
    for number, name in enumerate(("b", "a", "d", "c")):
        cluster.add_task(f"t{number}", name=name)
    ran = await cortex("tasks", "-o", "csv", "--sort", "name", "--limit", "2")
    assert [row["name"] for row in rows_of(ran)] == ["a", "b"]
    assert "2 of 4" in ran.err
    ran = await cortex("tasks", "--json", "--sort", "name:desc", "--filter", "name~[abc]", "--limit", "2")
    assert [task["name"] for task in ran.document["tasks"]] == ["c", "b"]


async def test_wide_cuts_nothing(cortex: CommandLine, cluster: FakeCluster) -> None:
    cluster.add_task("t0", command="echo " + "x" * 300)
    assert "x" * 300 in (await cortex("tasks", "-o", "wide")).text


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (("nodes", "--sort", "nothing"), "no column 'nothing'"),
        (("nodes", "--sort", "node:up"), "'up' is not a sort order"),
        (("nodes", "--columns", "nothing"), "no column 'nothing'"),
        (("nodes", "--filter", "nothing=1"), "no field nothing"),
        (("nodes", "--json", "--columns", "node"), "--columns is for tables"),
        (("status", "-o", "csv"), "does not support -o csv"),
        (("-o", "wide", "status"), "does not support -o wide"),
        (("events", "-f", "-o", "csv"), "-f takes no"),
        (("tasks", "--sort", "name", "--cursor", "5"), "exclude each other"),
    ],
)
async def test_what_cannot_be_shown_is_a_usage_error(
    cortex: CommandLine, words: tuple[str, ...], part: str
) -> None:
    ran = await cortex(*words)
    assert ran.code == 2
    assert part in ran.err


async def test_the_form_is_taken_before_the_verb(cortex: CommandLine, cluster: FakeCluster) -> None:
    assert {row["node"] for row in rows_of(await cortex("-o", "csv", "nodes"))} == {"n1", "n2"}


async def test_head_ends_a_list_quietly(cortex: CommandLine, cluster: FakeCluster) -> None:
    for number in range(500):
        cluster.add_task(f"t{number}")
    ran = await cortex.shell("set -o pipefail; cortex tasks -o csv --limit 500 | head -1")
    assert (ran.code, ran.err) == (0, "")
    assert ran.text.startswith("state,")


async def test_lists_do_not_load_the_console(cortex: CommandLine) -> None:
    program = (
        "import sys, tui.verbs.listed, tui.columns.nodes, tui.columns.tasks, tui.columns.workflows,"
        " tui.columns.events, tui.columns.operations, tui.columns.causes, tui.columns.export;"
        " print('textual' in sys.modules)"
    )
    ran = await cortex.shell(f'{__import__("sys").executable} -c "{program}"')
    assert ran.text.strip() == "False"


async def test_machines_that_wait_are_listed_and_none_is_said_so(cortex: CommandLine, cluster: FakeCluster) -> None:
    assert "No machine waits" in (await cortex("approvals")).text
    assert json.loads((await cortex("approvals", "-o", "json")).text) == []
    assert rows_of(await cortex("approvals", "-o", "csv")) == []
    cluster.add_node("n7")
    cluster.nodes["n7"].node.state = types_pb2.NODE_STATE_PENDING_APPROVAL
    assert [node["id"] for node in json.loads((await cortex("approvals", "--json")).text)] == ["n7"]
    assert [row["node"].split()[-1] for row in rows_of(await cortex("approvals", "-o", "csv"))] == ["n7"]
    assert "n7" in (await cortex("approvals")).text
