"""raftos' defects 1, 2, 6, 8 and 10: the log on the disk, and how it is replicated and committed."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest
from raftos.serializers import JSONSerializer, MessagePackSerializer

from tests.consensus.published import Published, TodaysMessagePack, proves, published_and_ours
from tests.consensus.rigs import B, C, Ours, Rig


class PublishedDefault(Published):
    serializer = MessagePackSerializer


class PublishedToday(Published):
    serializer = TodaysMessagePack


def followed(rig: Rig, term: int, texts: list[str], commit: int = 0) -> None:
    rig.append(B, term, entries=[(term, text) for text in texts], commit=commit)


@pytest.mark.parametrize("rig", [PublishedDefault, Ours], ids=["published", "ours"])
def test_1_the_log_is_readable_after_five_writes(rig: type[Rig], tmp_path: Path) -> None:
    async def check(voter: Rig) -> None:
        followed(voter, 1, list("abcde"))
        await voter.settle()
        assert voter.log == [(1, text) for text in "abcde"]

    proves(rig, check, tmp_path, "encoding", error=TypeError)


@pytest.mark.parametrize("rig", [PublishedToday, Ours], ids=["published", "ours"])
@pytest.mark.parametrize(("term", "text"), [(10, "a"), (1, "a\nb"), (2570, "c")])
def test_1_any_term_and_any_byte_survives_a_restart(rig: type[Rig], term: int, text: str, tmp_path: Path) -> None:
    async def check(voter: Rig) -> None:
        followed(voter, term, [text])
        await voter.settle()
        await voter.restart()
        assert voter.log == [(term, text)]

    # The newline splits the record: unpacking either half fails.
    proves(rig, check, tmp_path, None, error=Exception)


@published_and_ours
def test_1_a_torn_last_record_does_not_stop_the_start(rig: type[Rig], tmp_path: Path) -> None:
    async def check(voter: Rig) -> None:
        followed(voter, 1, ["first"])
        await voter.settle()
        followed(voter, 1, ["first", "second"])
        await voter.settle()
        if isinstance(voter, Ours):
            voter.machine.kill()
            cut_in_half(voter, b"second")
            await voter.start()
        else:
            path = next((voter.folder / "raftos").glob("*.log"))
            path.write_bytes(path.read_bytes()[:-5])
            await voter.restart()
        assert voter.log == [(1, "first")]

    proves(rig, check, tmp_path, "Unterminated|Expecting|delimiter", error=ValueError)


def cut_in_half(voter: Ours, text: bytes) -> None:
    disk = voter.machine.disk("raft")
    name = disk.names()[-1]
    file = disk.open(name)
    place = file.read(0, file.size()).index(text)
    file.write(place + 3, bytes(200))


@published_and_ours
def test_2_a_vote_is_synced_before_it_is_given(
    rig: type[Rig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    syncs: list[int] = []
    for name in ("fsync", "fdatasync"):
        monkeypatch.setattr(os, name, syncs.append)

    async def check(voter: Rig) -> None:
        before = synced(voter, syncs)
        at_sending: list[int] = []
        voter.on_sent = lambda _data: at_sending.append(synced(voter, syncs))
        voter.ask_vote(B, term=7)
        await voter.settle()
        assert len(at_sending) == 1
        assert at_sending[0] > before, "the vote left before anything was synced"

    proves(rig, check, tmp_path, "before anything was synced")


def synced(voter: Rig, syncs: list[int]) -> int:
    return voter.machine.disk("raft").syncs if isinstance(voter, Ours) else len(syncs)


@published_and_ours
def test_2_a_crash_while_state_is_written_keeps_the_older_state(rig: type[Rig], tmp_path: Path) -> None:
    class Crash(Exception):
        pass

    class CrashingSerializer(JSONSerializer):  # type: ignore[misc]
        """raftos empties the file, then packs what goes into it; the process ends in between."""

        armed = False

        @classmethod
        def pack(cls, data: Any) -> bytes:
            if cls.armed:
                raise Crash
            packed: bytes = JSONSerializer.pack(data)
            return packed

    class CrashingPublished(Published):
        serializer = CrashingSerializer

    async def check(voter: Rig) -> None:
        voter.ask_vote(B, term=7)
        await voter.settle()
        if isinstance(voter, Ours):
            voter.ask_vote(C, term=8)
            await asyncio.sleep(0.0001)  # the write has begun
            await voter.lose_power()
            assert voter.term in (7, 8), "the term was lost"
            return
        CrashingSerializer.armed = True
        with pytest.raises(Crash):
            voter.ask_vote(C, term=8)
        CrashingSerializer.armed = False
        await voter.restart()
        assert voter.term >= 7, "the term was lost"

    proves(CrashingPublished if rig is Published else rig, check, tmp_path, "the term was lost")


@published_and_ours
def test_6_an_empty_heartbeat_of_a_newer_term_erases_nothing(rig: type[Rig], tmp_path: Path) -> None:
    async def check(voter: Rig) -> None:
        followed(voter, 1, ["a"])
        voter.append(B, 1, prev=(1, 1), entries=[(1, "b")])
        voter.append(B, 1, prev=(2, 1), entries=[(1, "c")], commit=3)
        await voter.settle()
        assert len(voter.log) == voter.commit == 3
        voter.append(C, 2, prev=(1, 1))
        await voter.settle()
        assert len(voter.log) == 3, "committed entries were erased"

    proves(rig, check, tmp_path, "committed entries were erased")


@published_and_ours
def test_6_a_delayed_duplicate_erases_nothing(rig: type[Rig], tmp_path: Path) -> None:
    async def check(voter: Rig) -> None:
        followed(voter, 1, ["a"])
        voter.append(B, 1, prev=(1, 1), entries=[(1, "b")])
        voter.append(B, 1, prev=(2, 1), entries=[(1, "c")], commit=3)
        await voter.settle()
        followed(voter, 1, ["a"])
        await voter.settle()
        assert len(voter.log) == 3, "committed entries were erased"

    proves(rig, check, tmp_path, "committed entries were erased")


@published_and_ours
def test_6_the_commit_index_never_goes_back(rig: type[Rig], tmp_path: Path) -> None:
    async def check(voter: Rig) -> None:
        for index, text in enumerate("abc"):
            voter.append(B, 1, prev=(index, min(index, 1)), entries=[(1, text)], commit=index + 1)
        await voter.settle()
        assert voter.commit == 3
        voter.append(C, 2, prev=(1, 1), commit=3)
        voter.append(C, 2, prev=(1, 1), commit=4)
        await voter.settle()
        assert voter.commit >= 3, "the commit index went back"

    proves(rig, check, tmp_path, "the commit index went back")


@published_and_ours
def test_8_entries_of_an_older_term_are_committed_with_the_first_of_the_new_one(
    rig: type[Rig], tmp_path: Path
) -> None:
    async def check(voter: Rig) -> None:
        followed(voter, 1, ["a"])
        await voter.settle()
        await voter.restart()
        term = await voter.lead()
        waiting = voter.propose("b")
        await voter.settle()
        voter.appended(B, term, last_index=len(voter.log))
        await voter.settle()
        assert voter.commit == len(voter.log), "an entry of an older term holds up all commits"
        await asyncio.wait_for(asyncio.ensure_future(waiting), 1)

    proves(rig, check, tmp_path, "holds up all commits")


@published_and_ours
def test_8_a_new_leader_commits_what_it_found_without_any_client(rig: type[Rig], tmp_path: Path) -> None:
    async def check(voter: Rig) -> None:
        followed(voter, 1, ["a"])
        await voter.settle()
        await voter.restart()
        term = await voter.lead()
        for _ in range(20):
            voter.appended(B, term, last_index=len(voter.log))
            await asyncio.sleep(0.1)
        assert voter.commit >= 1, "a full restart never commits again"

    proves(rig, check, tmp_path, "a full restart never commits again")


@published_and_ours
def test_10_what_waits_for_a_follower_goes_in_one_message(rig: type[Rig], tmp_path: Path) -> None:
    async def check(voter: Rig) -> None:
        term = await voter.lead()
        voter.appended(B, term, last_index=len(voter.log))
        await voter.settle()
        voter.sent.clear()
        waiting = [voter.propose(text) for text in "abcdefgh"]
        await voter.settle()
        sizes = [len(data["entries"]) for data in voter.taken("append_entries") if data["to"] == B]
        assert 8 in sizes, "one entry per message"
        assert waiting

    proves(rig, check, tmp_path, "one entry per message")


@published_and_ours
def test_10_heartbeats_do_not_carry_a_large_entry_again_and_again(rig: type[Rig], tmp_path: Path) -> None:
    async def check(voter: Rig) -> None:
        term = await voter.lead()
        voter.appended(B, term, last_index=len(voter.log))
        await voter.settle()
        waiting = voter.propose("x" * 100_000)
        await voter.settle()
        voter.sent.clear()
        await asyncio.sleep(1)
        heartbeats = [data["entries"] for data in voter.taken("append_entries") if data["to"] == B]
        assert heartbeats
        assert not any(heartbeats), "every heartbeat is too large for a datagram"
        assert waiting

    proves(rig, check, tmp_path, "too large for a datagram")


@published_and_ours
def test_10_doubled_and_late_refusals_do_not_multiply_messages(rig: type[Rig], tmp_path: Path) -> None:
    async def check(voter: Rig) -> None:
        followed(voter, 1, ["a"])
        for index in range(1, 10):
            voter.append(B, 1, prev=(index, 1), entries=[(1, f"e{index}")])
        await voter.settle()
        term = await voter.lead()
        voter.sent.clear()
        for _ in range(50):
            voter.refused(B, term, prev_index=10)
        await voter.settle()
        messages = [data for data in voter.taken("append_entries") if data["to"] == B]
        assert len(messages) <= 2, "a storm of repeated messages"

    proves(rig, check, tmp_path, "a storm of repeated messages")
