"""logs of attempts that are over: what is kept, one of them, and what matches."""

from __future__ import annotations

import json

import pytest

from cortex.v1 import cluster_pb2 as pb
from tests.tui.command_line import CommandLine
from tests.tui.fake_cluster import FakeCluster

AT_US = 1_700_000_000_000_000
LINE = pb.FoundLine(stream=pb.STREAM_KIND_STDOUT, number=7, offset=70, text=b"Error \x1b[31m", matches=True)
NEAR = pb.FoundLine(stream=pb.STREAM_KIND_STDOUT, number=8, offset=80, text=b"near")
APART = pb.FoundLine(stream=pb.STREAM_KIND_STDERR, number=2, offset=3, text=b"Error \xff", matches=True)


@pytest.fixture
def attempts(cluster: FakeCluster) -> list[pb.KeptOutput]:
    cluster.add_task("t0")
    cluster.start("t0")
    cluster.write("t0", b"the last\n")
    cluster.finish("t0", 1)
    cluster.kept += [
        pb.KeptOutput(fence=3, run=1, attempt=0, node="n1", keeping=pb.KEEPING_KEPT, stdout_bytes=5, at_us=AT_US),
        pb.KeptOutput(fence=5, run=1, attempt=0, node="n2", keeping=pb.KEEPING_NONE),
        pb.KeptOutput(
            fence=9, run=1, attempt=1, node="n2", keeping=pb.KEEPING_TRIMMED, stderr_bytes=2048, dropped_bytes=7
        ),
    ]
    return cluster.kept


async def test_what_is_kept_is_listed(cortex: CommandLine, attempts: list[pb.KeptOutput]) -> None:
    rows = (await cortex("logs", "t0", "--list")).text.splitlines()
    assert rows[0].split() == ["RUN", "TRY", "NODE", "OUTPUT", "STDOUT", "STDERR", "DROPPED", "AGE", "FENCE"]
    assert [row.split()[2:4] for row in rows[1:]] == [["n1", "kept"], ["n2", "none"], ["n2", "trimmed"]]
    document = json.loads((await cortex("logs", "--list", "--json", "t0")).out)
    assert document["outputs"][0] == {
        "run": 1, "attempt": 0, "fence": 3, "node": "n1", "keeping": "kept", "at": "2023-11-14T22:13:20.000000Z",
        "stdout_bytes": 5, "stderr_bytes": 0, "dropped_bytes": 0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("flags", "asked"),
    [
        # Where it was moved away without a word there is nothing to show.
        (["--attempt", "0"], (3, "n1")),
        (["--fence", "5"], (5, "n2")),
        (["--run", "1"], (9, "n2")),
    ],
)
async def test_one_attempt_is_asked_for_where_it_ran(
    cortex: CommandLine,
    cluster: FakeCluster,
    attempts: list[pb.KeptOutput],
    flags: list[str],
    asked: tuple[int, str],
) -> None:
    ran = await cortex("logs", "t0", *flags)
    (request,) = [request for method, request in cluster.calls if method == "Output"]
    assert (request.fence, request.node) == asked
    assert ("what is old was removed from n2" in ran.err) == (asked[0] == 9)


async def test_an_attempt_that_never_was_is_not_found(cortex: CommandLine, attempts: list[pb.KeptOutput]) -> None:
    ran = await cortex("logs", "t0", "--attempt", "7")
    assert (ran.code, ran.err.splitlines()[0]) == (3, "cortex: Task t0 has no such attempt.")
    assert "cortex logs t0 --list" in ran.err


async def test_lines_that_match_have_their_numbers(
    cortex: CommandLine, cluster: FakeCluster, attempts: list[pb.KeptOutput]
) -> None:
    cluster.found += [
        pb.SearchOutputReply(lines=[LINE, NEAR]),
        pb.SearchOutputReply(lines=[APART]),
        pb.SearchOutputReply(ended=True, cut="The search took 10 s."),
    ]
    ran = await cortex("logs", "t0", "--grep", "err", "-i", "-C", "1", "--attempt", "0")
    assert ran.code == 0
    assert ran.text.splitlines() == ["7:Error ^[[31m", "8-near", "--", "stderr:2:Error \\ufffd"]
    assert ran.err == "cortex: The search took 10 s.\n"
    (request,) = [request for method, request in cluster.calls if method == "SearchOutput"]
    assert (request.pattern, request.ignore_case, request.context, request.limit) == ("err", True, 1, 1000)
    assert (request.fence, request.node) == (3, "n1")


async def test_nothing_found_is_exit_code_1(
    cortex: CommandLine, cluster: FakeCluster, attempts: list[pb.KeptOutput]
) -> None:
    cluster.found.append(pb.SearchOutputReply(ended=True))
    ran = await cortex("logs", "t0", "--grep", "x")
    assert (ran.code, ran.out, ran.err) == (1, b"", "")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("logs", "Either a task or --workflow is meant."),
        ("logs t0 --workflow w", "Either a task or --workflow is meant."),
        ("logs --workflow w", "--workflow searches, and there is no --grep."),
        ("logs --workflow w --grep x --run 1", "--workflow searches the last attempts."),
        ("logs t0 -f --grep x", "-f follows the last attempt alone."),
        ("logs t0 --list --run 1", "--list lists all attempts."),
    ],
)
async def test_what_does_not_go_together_is_refused(cortex: CommandLine, words: str, said: str) -> None:
    ran = await cortex(*words.split())
    assert (ran.code, ran.err.splitlines()[0]) == (2, f"cortex: {said}")
