"""`cortex drain` and `cortex remove` against a fake cluster: sheets, documents, waiting, refusals."""

from __future__ import annotations

import signal

import pytest

from cortex.v1 import types_pb2 as types
from tests.tui.command_line import CommandLine
from tests.tui.fake_cluster import FakeCluster
from tests.tui.fake_drains import end_drain, plan_of
from tui.documents import drain_view


@pytest.fixture(autouse=True)
def _nodes(cluster: FakeCluster) -> None:
    cluster.add_node("n1")


async def test_a_rehearsal_prints_a_sheet_and_how_to_carry_it_out(cortex: CommandLine) -> None:
    ran = await cortex("drain", "n1", "--dry-run")
    assert ran.code == 0
    lines = ran.text.splitlines()
    assert lines[0] == "Drain of n1, rehearsed at log index 100. Nothing was changed."
    assert "t1    n2       Best score with a free slot: 80.0 points." in lines
    assert "t2    (waits)  It waits in the queue until a node has room for it." in lines
    assert "t3    STUCK        No other node takes it: label gpu missing (2 nodes)." in lines
    assert "t4    DEAD LETTER  It is not retryable: it runs on." in lines
    assert (
        "tasks:  1 task would land elsewhere, 1 would wait for room, 1 would have nowhere to go, "
        "1 would become a dead letter at the deadline."
    ) in lines
    assert "quorum: 3 of 3 voters are up, 2 are needed; 2 with n1 switched off: enough." in lines
    assert "time:   about 12s, 1h at most." in lines
    assert lines[-1] == "Carry it out: cortex drain n1 --plan plan1"


async def test_a_rehearsal_is_a_document(cortex: CommandLine, cluster: FakeCluster) -> None:
    ran = await cortex("drain", "n1", "--dry-run", "--json", "--deadline", "90")
    assert ran.document == {
        "plan_id": "plan1",
        "node": "n1",
        "moves": [
            {"task": "t1", "to": "n2", "reason": "Best score with a free slot: 80.0 points."},
            {"task": "t2", "to": None, "reason": "It waits in the queue until a node has room for it."},
        ],
        "stuck": [
            {
                "task": "t3",
                "reason": "No other node takes it: label gpu missing (2 nodes).",
                "dead_letter": False,
            },
            {"task": "t4", "reason": "It is not retryable: it runs on.", "dead_letter": True},
        ],
        "quorum": {"voters": 3, "up": 3, "needed": 2, "up_without": 2, "ok": True},
        "eta_s": 12.5,
        "deadline_s": 90.0,
        "index": 100,
    }
    assert not cluster.operations


async def test_all_options_reach_the_daemon(cortex: CommandLine, cluster: FakeCluster) -> None:
    options = ("--no-deadline", "--force", "--keep-cordoned", "--max-parallel", "3", "--hold", "--now")
    assert (await cortex("drain", "n1", *options, "--message", "disk")).code == 0
    (request,) = [request for name, request in cluster.calls if name == "DrainNode"]
    assert (request.no_deadline, request.force, request.keep_cordoned, request.hold) == (True,) * 4
    assert (request.max_parallel, request.message, request.undo_window_ms) == (3, "disk", 0)
    assert request.HasField("undo_window_ms")
    assert not request.HasField("deadline_ms")


async def test_a_drain_says_how_to_undo_it(cortex: CommandLine, cluster: FakeCluster) -> None:
    ran = await cortex("drain", "n1", "--deadline", "20s")
    operation_id = next(iter(cluster.operations))
    last = ran.text.splitlines()[-1]
    assert last == f"n1 is cordoned; its drain begins in 5.0s. Until then: cortex undo {operation_id}"
    ran = await cortex("drain", "n1", "--plan", "plan1", "--json")
    assert ran.document == {
        "operation_id": list(cluster.operations)[1],
        "index": cluster.index,
        "ids": ["n1"],
        "plan_id": "plan1",
    }


async def test_wait_prints_what_became_of_the_forecast(cortex: CommandLine, cluster: FakeCluster) -> None:
    process = await cortex.start("drain", "n1", "--wait", "--json")
    await cluster.called("Watch")
    end_drain(cluster, outcome="2 of 2 tasks landed where they were forecast")
    ran = await cortex.end(process)
    assert ran.code == 0
    document = ran.document
    assert (document["state"], document["eta_s"], document["took_s"]) == ("done", 12.5, 4.2)
    assert [(move["to"], move["actual"]) for move in document["moves"]] == [("n2", "n2"), (None, None)]


@pytest.mark.parametrize("state", [types.OPERATION_STATE_REFUSED, types.OPERATION_STATE_UNDONE])
async def test_wait_fails_when_the_node_was_not_drained(
    cortex: CommandLine, cluster: FakeCluster, state: types.OperationState.ValueType
) -> None:
    process = await cortex.start("drain", "n1", "--wait")
    await cluster.called("Watch")
    end_drain(cluster, state, "the plan does not hold")
    ran = await cortex.end(process)
    name = "refused" if state == types.OPERATION_STATE_REFUSED else "undone"
    assert ran.code == 1
    assert ran.text.splitlines()[-1] == f"The drain of n1 was {name}: the plan does not hold."


async def test_ctrl_c_while_waiting_says_that_it_goes_on(cortex: CommandLine, cluster: FakeCluster) -> None:
    process = await cortex.start("drain", "n1", "--wait")
    await cluster.called("Watch")
    process.send_signal(signal.SIGINT)
    ran = await cortex.end(process)
    assert ran.code == 130
    assert f"The drain goes on as operation {next(iter(cluster.operations))}." in ran.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("--plan", "p", "--deadline", "5s"),
        ("--plan", "p", "--force"),
        ("--plan", "p", "--dry-run"),
        ("--deadline", "5s", "--no-deadline"),
        ("--dry-run", "--wait"),
        ("--dry-run", "--now"),
        ("--deadline", "soon"),
        ("--max-parallel", "0"),
    ],
)
async def test_what_makes_no_sense_is_a_usage_error(cortex: CommandLine, arguments: tuple[str, ...]) -> None:
    ran = await cortex("drain", "n1", *arguments)
    assert ran.code == 2
    assert ran.err


async def test_unknown_nodes_and_plans_are_not_found(cortex: CommandLine) -> None:
    for arguments in (("drain", "n9"), ("drain", "n1", "--plan", "old"), ("remove", "n9")):
        ran = await cortex(*arguments, "--json")
        assert (ran.code, ran.error["code"]) == (3, "not_found")
        assert ran.error["remedy"]


async def test_remove_prints_the_node(cortex: CommandLine, cluster: FakeCluster) -> None:
    ran = await cortex("remove", "n1", "--message", "sold")
    assert (ran.code, ran.text) == (0, "n1\n")
    (request,) = [request for name, request in cluster.calls if name == "RemoveNode"]
    assert request.message == "sold"
    assert ran.err == "cortex: it joins again only with a new data folder\n"
    again = await cortex("remove", "n1")
    assert (again.code, again.text) == (0, "")
    assert again.err == "cortex: n1 was removed before; nothing changed\n"
    assert (await cortex("remove", "n1", "--json")).document["ids"] == []


async def test_nodes_tell_what_a_person_should_know(cortex: CommandLine, cluster: FakeCluster) -> None:
    assert "NOTE" not in (await cortex("nodes")).text
    row = cluster.nodes["n1"].node
    row.alarm, row.suspect_reason, row.message = "Task t1 cannot be killed.", "all fails there", "by hand"
    ran = await cortex("nodes")
    assert "ALARM: Task t1 cannot be killed." in ran.text
    assert "suspect:  all fails there" in (await cortex("node", "n1")).text
    document = (await cortex("node", "n1", "--json")).document
    assert (document["alarm"], document["suspect_reason"]) == ("Task t1 cannot be killed.", "all fails there")


def test_the_sheet_says_so_when_the_quorum_is_not_enough() -> None:
    plan = plan_of("evil\x1b[31m\n")
    plan.quorum.up_without, plan.quorum.ok = 1, False
    plan.deadline_ms = 0
    lines = drain_view.sheet(plan)
    assert any(line.endswith("switched off: NOT ENOUGH.") for line in lines)
    assert any(line.endswith("no deadline.") for line in lines)
    assert "\x1b" not in "".join(lines)


async def test_an_operation_shows_the_plan_of_its_drain(cortex: CommandLine, cluster: FakeCluster) -> None:
    await cortex("drain", "n1")
    end_drain(cluster)
    operation_id = next(iter(cluster.operations))
    document = (await cortex("operations", operation_id, "--json")).document
    assert (document["kind"], document["took_s"], document["moves"][0]["actual"]) == ("drain", 4.2, "n2")
    lines = (await cortex("operations", operation_id)).text.splitlines()
    assert "t1    n2           n2       Best score with a free slot: 80.0 points." in lines
