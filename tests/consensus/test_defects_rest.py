"""raftos' defects 9, 11, 12, 13 and 15: waiting proposals, messages, today's Python, globals, secrets."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest
import raftos
from raftos.conf import Configuration
from raftos.cryptors import Cryptor

from node.consensus.port import ProposalError
from node.consensus.raftos.engine import RaftosEngine
from node.consensus.raftos.settings import RaftSettings
from tests.consensus.published import Node, Published, proves, published_and_ours
from tests.consensus.rigs import CLUSTER, ME, B, C, Host, Ours, Rig
from tests.sim.env import SimMachine
from tests.sim.loop import SimLoop, run


class PublishedOnTodaysPython(Published):
    patched = False


async def commits(voter: Rig, term: int, *, rounds: int = 5) -> None:
    """Follower B keeps up with everything."""
    for _ in range(rounds):
        await voter.settle()
        voter.appended(B, term, last_index=len(voter.log))


@published_and_ours
def test_9_concurrent_proposals_all_end(rig: type[Rig], tmp_path: Path) -> None:
    async def check(voter: Rig) -> None:
        term = await voter.lead()
        waiting = [asyncio.ensure_future(voter.propose(text)) for text in "abc"]
        await commits(voter, term)
        done, hanging = await asyncio.wait(waiting, timeout=5)
        assert len(done) == 3, f"{len(hanging)} proposals hang"

    proves(rig, check, tmp_path, "2 proposals hang")


@published_and_ours
def test_9_an_entry_is_acknowledged_by_its_own_commit_only(rig: type[Rig], tmp_path: Path) -> None:
    async def check(voter: Rig) -> None:
        term = await voter.lead()
        voter.appended(B, term, last_index=len(voter.log))
        await voter.settle()
        first = asyncio.ensure_future(voter.propose("a"))
        await asyncio.sleep(0)
        await voter.settle()
        second = asyncio.ensure_future(voter.propose("b"))
        await voter.settle()
        # B has the first of them only.
        for _ in range(3):
            voter.appended(B, term, last_index=len(voter.log) - 1)
            await voter.settle()
        assert not second.done(), "acknowledged by the other one's commit"
        assert first.done()

    proves(rig, check, tmp_path, "acknowledged by the other one's commit")


@published_and_ours
def test_9_a_proposal_that_waits_at_step_down_ends(rig: type[Rig], tmp_path: Path) -> None:
    async def check(voter: Rig) -> None:
        term = await voter.lead()
        waiting = asyncio.ensure_future(voter.propose("a"))
        await voter.settle()
        voter.append(C, term + 1)
        done, _ = await asyncio.wait([waiting], timeout=60)
        assert done, "it never ends"
        assert isinstance(waiting.exception(), ProposalError)

    proves(rig, check, tmp_path, "it never ends")


@published_and_ours
def test_11_a_leader_survives_the_refusal_that_deposes_it(rig: type[Rig], tmp_path: Path) -> None:
    async def check(voter: Rig) -> None:
        term = await voter.lead()
        refusal = {"type": "append_entries_response", "sender": B, "term": term + 1, "success": False}
        if isinstance(voter, Ours):
            refusal |= {"request_id": 0, "prev_log_index": 0, "conflict_index": 0, "conflict_term": 0}
        voter.give(refusal)
        await voter.settle()
        assert voter.role == "follower"

    proves(rig, check, tmp_path, "request_id", error=KeyError)


@published_and_ours
def test_11_heartbeats_leave_nothing_behind(rig: type[Rig], tmp_path: Path) -> None:
    async def check(voter: Rig) -> None:
        term = await voter.lead()
        leader = voter.state.state if isinstance(voter, Published) else voter.engine._state.state  # type: ignore[attr-defined]

        def held() -> int:
            return sum(len(value) for value in vars(leader).values() if hasattr(value, "__len__"))

        before = held()
        for _ in range(100):
            # Two of three answers are lost, as happens in any network.
            await asyncio.sleep(0.9)
            request = voter.taken("append_entries")[-1]["request_id"]
            voter.appended(B, term, last_index=len(voter.log), request=request)
        assert held() <= before + 5, "every heartbeat leaves something behind"

    proves(rig, check, tmp_path, "leaves something behind")


@published_and_ours
def test_11_an_unknown_message_is_dropped(rig: type[Rig], tmp_path: Path) -> None:
    async def check(voter: Rig) -> None:
        if isinstance(voter, Ours):
            voter.life.call(voter.engine._state.request_handler, {"type": "gossip", "term": 1, "sender": B})
        else:
            voter.give({"type": "gossip", "term": 1, "sender": B})
        voter.ask_vote(B, term=1)
        await voter.settle()
        assert voter.taken("request_vote_response")

    proves(rig, check, tmp_path, "on_receive_gossip", error=AttributeError)


@pytest.mark.parametrize("rig", [PublishedOnTodaysPython, Ours], ids=["published", "ours"])
def test_12_a_follower_commits_on_todays_python(rig: type[Rig], tmp_path: Path) -> None:
    async def check(voter: Rig) -> None:
        voter.append(B, 1, entries=[(1, "a")], commit=1)
        await voter.settle()
        voter.append(B, 1, prev=(1, 1), commit=1)
        await voter.settle()
        assert voter.commit == 1

    proves(rig, check, tmp_path, "InvalidStateError", error=AttributeError)


def test_12_the_published_node_cannot_be_made_and_ours_can(tmp_path: Path) -> None:
    async def make_published() -> None:
        raftos.configure({"log_path": str(tmp_path)})
        Node(("10.0.0.1", 1), asyncio.get_running_loop())

    with pytest.raises(TypeError, match="loop"):
        run(make_published)

    async def make_ours() -> None:
        voter = Ours(tmp_path)
        await voter.start()
        assert voter.role == "follower"

    run(make_ours)


def test_12_the_published_containers_cannot_be_changed() -> None:
    async def main() -> None:
        await raftos.ReplicatedDict("d").update({"a": 1})

    with pytest.raises(TypeError, match="await"):
        run(main)


@published_and_ours
def test_13_a_leader_in_one_cluster_is_none_in_another(rig: type[Rig], tmp_path: Path) -> None:
    async def check(voter: Rig) -> None:
        other = type(voter)(tmp_path / "other")
        await other.start()
        await voter.lead()
        found = other.engine.leader if isinstance(other, Ours) else other.state.get_leader()  # type: ignore[attr-defined]
        assert found is None, "the other cluster's leader is taken for this one's"

    proves(rig, check, tmp_path, "taken for this one's")


@published_and_ours
def test_13_two_voters_in_one_process_keep_their_own_timing(rig: type[Rig], tmp_path: Path) -> None:
    async def check(voter: Rig) -> None:
        if isinstance(voter, Ours):
            slow = Ours(settings=RaftSettings(heartbeat_s=1.0, election_min_s=30.0, election_max_s=60.0))
            await slow.start()
            assert voter.election_s != slow.election_s
        else:
            before = voter.election_s
            raftos.configure({"heartbeat_interval": 30.0})
            after = voter.election_s
            raftos.configure({"heartbeat_interval": 0.3})
            assert before == after, "one voter's settings change the other's"
        await asyncio.sleep(voter.election_s[1] + 0.1)
        assert voter.role == "candidate"

    proves(rig, check, tmp_path, "change the other's")


_PUBLISHED_ORDER = """
import asyncio, tempfile, raftos
from raftos.server import Node
queue = asyncio.Queue
asyncio.Queue = lambda loop: queue()
async def main():
    raftos.configure({"log_path": tempfile.mkdtemp()})
    node = Node(("10.0.0.1", 1), asyncio.get_running_loop())
    for host in range(2, 8):
        node.update_cluster((f"10.0.0.{host}", 1))
    print(node.state.cluster)
asyncio.run(main())
"""
_OUR_ORDER = """
from tests.consensus.rigs import ALL, Host, ME
from node.consensus.raftos.engine import RaftosEngine
from tests.sim.env import SimMachine
from tests.sim.loop import SimLoop
life, env = SimMachine(SimLoop(), "a", 1).boot()
print(RaftosEngine(env, Host(), ME, {voter: voter for voter in ALL}, "c", print).cluster)
"""


def orders(script: str) -> set[str]:
    """What it prints under several hash seeds."""
    found = set()
    for seed in "123":
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        command = [sys.executable, "-W", "ignore", "-c", script]
        found.add(subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout)
    return found


def test_13_the_order_of_peers_depends_on_the_hash_seed_in_the_published_class_only() -> None:
    assert len(orders(_PUBLISHED_ORDER)) > 1
    assert len(orders(_OUR_ORDER)) == 1


def test_15_the_published_secret_is_the_same_everywhere_and_ours_is_the_cluster(tmp_path: Path) -> None:
    sealed = Cryptor(Configuration()).encrypt(b"vote")
    assert Cryptor(Configuration()).decrypt(sealed) == b"vote"

    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimLoop)
        _, env = SimMachine(loop, ME, seed=1).boot()
        with pytest.raises(ValueError, match="cluster id"):
            RaftosEngine(env, Host(), ME, {ME: ME}, "", lambda _address, _message: None)
        voter = Ours(tmp_path)
        await voter.start()
        stranger = Ours(tmp_path)
        stranger.engine = voter.engine
        message = raft_message_of("another " + CLUSTER)
        voter.life.call(voter.engine.receive, message)
        await voter.settle()
        assert voter.sent == []
        assert voter.term == 0

    run(main)


def raft_message_of(cluster: str) -> object:
    from node.consensus.raftos.wire import Codec

    request = {
        "type": "request_vote",
        "term": 9,
        "last_log_index": 9,
        "last_log_term": 9,
        "pre_vote": False,
        "transfer": False,
    }
    return Codec(cluster, B).encode(request, ME)


_WITHOUT_CRYPTOGRAPHY = """
import sys
sys.modules["cryptography"] = sys.modules["cryptography.fernet"] = None
{imports}
"""


def test_15_without_cryptography_the_published_class_talks_in_the_clear_and_ours_has_no_cipher_of_its_own() -> None:
    def printed(imports: str) -> str:
        command = [sys.executable, "-c", _WITHOUT_CRYPTOGRAPHY.format(imports=imports)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        return done.stdout + done.stderr

    published = printed("from raftos.conf import config; print(config.cryptor.encrypt(b'vote'))")
    assert "b'vote'" in published
    # Our engine hands messages to a link and never to a socket, so there is nothing to be forgotten.
    ours = printed("from node.consensus.raftos import engine, roles; print([*vars(engine), *vars(roles)])")
    assert "not installed" not in ours
    assert "ryptor" not in ours
    assert "UDPProtocol" not in ours
