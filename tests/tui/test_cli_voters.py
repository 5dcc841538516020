"""`cortex voters` and `cortex leader`: tables, documents, what is waited for, and what is asked first."""

from __future__ import annotations

import asyncio
import os
import pty
import sys

import pytest

from tests.tui.command_line import CommandLine
from tests.tui.fake_cluster import FakeCluster, Refusal


@pytest.fixture
def members(cluster: FakeCluster) -> FakeCluster:
    """n1 leads, n2 votes, s1 could."""
    cluster.add_node("s1", address="h:7003")
    cluster.voters.discard("s1")
    return cluster


async def test_the_list_shows_who_leads_and_how_far_the_others_are(
    cortex: CommandLine, members: FakeCluster
) -> None:
    members.learners["s1"] = False
    ran = await cortex("voters")
    assert ran.code == 0, ran.err
    lines = [line.split() for line in ran.text.splitlines()]
    assert lines[0] == ["ID", "ROLE", "UP", "LEADER", "HAS", "LAG", "ADDRESS"]
    index = members.index
    assert lines[1][:6] == ["n1", "voter", "yes", "*", str(index), "0"]
    assert lines[3] == ["s1", "learner", "yes", str(index - 2), "2", "h:7003"]
    document = (await cortex("voters", "list", "--json")).document
    assert document["index"] == index
    assert document["voters"][2] == {
        "id": "s1",
        "address": "h:7003",
        "role": "learner",
        "up": True,
        "leader": False,
        "match_index": index - 2,
        "lag": 2,
        "catching_up": True,
        "snapshot_sent_bytes": None,
        "snapshot_bytes": None,
    }


async def test_voters_of_the_past_are_refused_with_what_tells_of_them(cortex: CommandLine) -> None:
    ran = await cortex("voters", "list", "--at", "10m")
    assert ran.code == 2
    assert "is not kept" in ran.err
    assert "`cortex nodes --at`" in ran.err


async def test_without_a_leader_nobody_says_who_is_up(cortex: CommandLine, members: FakeCluster) -> None:
    members.leader = ""
    ran = await cortex("voters")
    assert [line.split()[2] for line in ran.text.splitlines()[1:]] == ["?", "?"]
    assert "no leader answers" in ran.err
    assert [item["up"] for item in (await cortex("voters", "--json")).document["voters"]] == [None, None]


async def test_an_added_node_that_still_catches_up_is_said_to(cortex: CommandLine, members: FakeCluster) -> None:
    ran = await cortex("voters", "add", "s1")
    assert (ran.code, ran.text) == (0, "s1\n")
    assert ran.err == "cortex: s1 still catches up, and votes once it has; see `cortex voters`\n"
    again = await cortex("voters", "add", "s1", "--json")
    assert set(again.document) == {"operation_id", "index", "ids", "voter"}
    assert (again.document["ids"], again.document["voter"]) == (["s1"], False)


async def test_waiting_ends_when_it_votes(cortex: CommandLine, members: FakeCluster) -> None:
    waiting = asyncio.ensure_future(cortex("voters", "add", "s1", "--wait"))
    while "ListVoters" not in [method for method, _ in members.calls]:
        await members.changed(0.05)
    members.learners["s1"] = True
    ran = await waiting
    assert (ran.code, ran.text, ran.err) == (0, "s1\n", "")


async def test_waiting_that_is_in_vain_leaves_a_learner(cortex: CommandLine, members: FakeCluster) -> None:
    ran = await cortex("voters", "add", "s1", "--wait", "--timeout", "0.3s")
    assert ran.code == 1
    assert "s1 has not caught up within 0.3s; it is a learner." in ran.err
    assert "cortex voters remove s1" in ran.err
    assert (await cortex("voters", "remove", "s1")).text == "s1\n"
    assert members.learners == {}


async def test_what_is_refused_is_said(cortex: CommandLine, members: FakeCluster) -> None:
    members.refuse["AddVoter"] = Refusal(
        "wrong_state", "s1 runs with --worker, and keeps no log.", "Start it anew."
    )
    ran = await cortex("voters", "add", "s1", "--json")
    assert ran.code == 1
    assert ran.error["message"] == "s1 runs with --worker, and keeps no log."
    assert (await cortex("voters", "add", "nobody")).code == 1
    assert (await cortex("voters", "add", "s1", "--timeout", "3s")).code == 2
    assert (await cortex("voters", "add", "s1", "--wait", "--timeout", "soon")).code == 2
    assert (await cortex("voters", "add", "")).code == 2


async def test_a_script_is_not_asked(cortex: CommandLine, members: FakeCluster) -> None:
    ran = await cortex("voters", "remove", "n2", "--json")
    assert ran.code == 0
    assert set(ran.document) == {"operation_id", "index", "ids"}
    last = await cortex("voters", "remove", "n1")
    assert (last.code, last.err) == (1, "cortex: n1 is the last voter.\nAdd another one first.\n")


@pytest.mark.parametrize(("answer", "code"), [("y", 0), ("n", 1), ("", 1)])
async def test_a_person_is_asked(cortex: CommandLine, members: FakeCluster, answer: str, code: int) -> None:
    own, theirs = pty.openpty()
    try:
        os.write(own, f"{answer}\n".encode())
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tui.cli",
            "voters",
            "remove",
            "n2",
            stdin=theirs,
            stdout=asyncio.subprocess.PIPE,
            stderr=theirs,
            env=cortex.environment,
            cwd=cortex.folder,
        )
        async with asyncio.timeout(60):
            out, _ = await process.communicate()
        said = os.read(own, 4096).decode()
    finally:
        os.close(own)
        os.close(theirs)
    assert process.returncode == code
    assert "n2: 1 voter is left, and none may be lost." in said.replace("\r", "")
    assert "Remove n2 from the voters?" in said
    assert out == (b"n2\n" if code == 0 else b"")
    assert ("n2" in members.voters) == bool(code)


async def test_leader_is_shown_and_moved(cortex: CommandLine, members: FakeCluster) -> None:
    assert (await cortex("leader")).text == "n1\n"
    moved = await cortex("leader", "transfer", "n2")
    assert (moved.text, moved.err) == ("n2\n", "cortex: n2 leads after 42 ms, in term 2\n")
    assert (await cortex("leader", "show", "--json")).document == {
        "leader": "n2",
        "term": 1,
        "index": members.index,
    }
    back = await cortex("leader", "transfer", "--json")
    assert (back.document["leader"], back.document["took_ms"]) == ("n1", 42)
    members.leader = ""
    assert (await cortex("leader")).code == 4
