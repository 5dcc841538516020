"""raftos' Leader with pipelined replication, correct commitment, check-quorum and confirmed rounds."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence

from node.consensus.membership import Membership
from node.consensus.port import Committed, NotLeader
from node.consensus.raftos import library
from node.consensus.raftos.audience import Audience
from node.consensus.raftos.batches import Batches
from node.consensus.raftos.lost_disks import counts_again, is_of_this_life, note_blank, note_denial
from node.consensus.raftos.progress import Progress
from node.consensus.raftos.proposals import NO_LEADER, OVERLOADED, AnsweredSenders
from node.consensus.raftos.role import Role
from node.consensus.raftos.rounds import Rounds
from node.consensus.raftos.sending import Sending
from node.consensus.raftos.state import RaftState
from node.consensus.raftos.wire import Data


class Leader(Role, library.Leader):
    def __init__(self, state: RaftState) -> None:
        super().__init__(state)
        settings = state.settings
        self.heartbeat_timer = library.Timer(settings.heartbeat_s, self.heartbeat)
        self.step_down_timer = library.Timer(settings.step_down_s, self._lost_quorum)
        self.audience = Audience(state)
        self.progress = self.audience.progress
        self.rounds = Rounds(state.loop, self.heartbeat)
        self.transferring = False
        self._sending = Sending(state)
        self._batches = Batches(self.log, settings.max_message_bytes)
        self._unread: list[asyncio.Future[int]] = []
        """Reads that came before an entry of this term was committed."""
        self._asked: set[tuple[str, int]] = set()
        """Questions of other voters that are yet to be answered."""
        self._notice: asyncio.TimerHandle | None = None
        self._forwarded = AnsweredSenders()

    def start(self) -> None:
        memberships = self.state.memberships
        self.audience.begin()
        self.heartbeat_timer.start()
        self.step_down_timer.start()
        self.request_id = 1
        if not self.audience.voting:
            self._reach(self.request_id)
        # The first entry of a log says who bootstrapped it, so that the log alone tells the members.
        membership = b"" if memberships.index else memberships.current.encode()
        self._append([self.state.host.noop()], membership)
        self.append_entries()

    def stop(self) -> None:
        self._sending.stop()
        self.heartbeat_timer.stop()
        self.step_down_timer.stop()
        if self._notice is not None:
            self._notice.cancel()
        self.rounds.stop()
        for read in self._unread:
            if not read.done():
                read.set_exception(NotLeader("leadership was lost"))

    def execute_command(self, command: Sequence[bytes]) -> int:
        """Stamp and append proposals; index of the first. They travel at the next append_entries()."""
        return self._append(command)

    def change(self, membership: Membership, proposal: bytes) -> int:
        """Append an entry from which on `membership` is in force; its index."""
        index = self._append([proposal], membership.encode())
        self.audience.adopt()
        return index

    def _append(self, command: Sequence[bytes], membership: bytes = b"") -> int:
        log, term, stamp = self.log, self.storage.term, self.state.host.stamp
        first = log.last_log_index + 1
        entries = [Committed(index, term, stamp(data), membership) for index, data in enumerate(command, first)]
        log.append(entries)
        if membership:
            self.state.memberships.append(entries)
            self.state.server.membership_changed()
        self.state.writer.put_entries(entries)
        self.state.server.log_changed()
        return first

    def heartbeat(self) -> None:
        """Begin a new round: every peer is asked at once, whatever it still owes."""
        if not self._can_lead():
            self.abdicate()
            return
        self.rounds.begun()
        self.request_id += 1
        self.audience.note_round()
        for progress in [*self.progress.values()]:
            if progress.leaves_at and self.audience.seen_off(progress, self.request_id):
                continue
            self._send(progress, [], wall_us=self.state.clock.wall_us())
            progress.probing = not progress.pipelined
        self._sending.tick(self.progress, self.request_id)
        if not self.audience.voting:
            self._reach(self.request_id)

    def _can_lead(self) -> bool:
        """Whether its own disk goes on, or no majority is known whose disks do."""
        state, writer = self.state, self.state.writer
        if not state.may_campaign or writer.full or writer.stalled_s > state.settings.disk_stall_s:
            return False
        if writer.stalled_s <= state.settings.step_down_s:
            return True
        others = self.audience.majority(0, [peer.counted_index for peer in self.audience.voting])
        return others <= writer.durable_index

    def abdicate(self) -> None:
        """Step down; whoever has the whole log may take over without waiting."""
        for progress in self.audience.voting:
            if progress.counted_index == self.log.last_log_index:
                self.hand_over(progress.id)
                break
        self.state.to_follower()

    def snapshot_progress(self, peer: str) -> tuple[int, int]:
        """Bytes that a peer has of the snapshot that it is sent, and its length; zeros when it is sent none."""
        transfer = self._sending.transfers.get(peer)
        return (transfer.acked, transfer.meta.size_bytes) if transfer is not None else (0, 0)

    def hand_over(self, peer: str) -> None:
        self.state.server.send({"type": "timeout_now", "term": self.storage.term}, peer)

    def _lost_quorum(self) -> None:
        if self.audience.voting:
            self.state.to_follower()

    def append_entries(self, destination: str | None = None) -> None:
        """Send what is due to one peer or to all: entries, else the commit index if it has grown."""
        for progress in self.progress.values():
            if destination in (None, progress.id):
                self._fill(progress)

    def _fill(self, progress: Progress) -> None:
        settings, log = self.state.settings, self.log
        if progress.next_index <= log.base_index:
            self._sending.serve(progress, self.request_id)
            return
        if self._sending.transfers:
            self._sending.drop(progress.id)
        last = log.last_log_index if not progress.leaves_at else progress.last(log.last_log_index, log.commit_index)
        while progress.next_index <= last:
            if progress.pipelined:
                full = len(progress.inflight) >= settings.max_inflight
                if full or progress.inflight_bytes >= settings.max_inflight_bytes:
                    break
            elif progress.probing:
                break
            self._send_entries(progress, last)
        if not self._lacks_commit(progress):
            return
        if progress.sent_commit < progress.forwarded_index:
            # Somebody waits there for a proposal that this follower passed on.
            self._send(progress, [])
        elif self._notice is None:
            # Most often an entry follows at once, and carries the commit index for nothing.
            self._notice = self.state.loop.call_later(settings.commit_notice_s, self._tell_commit)

    def _lacks_commit(self, progress: Progress) -> bool:
        return progress.pipelined and progress.sent_commit < min(self.log.commit_index, progress.next_index - 1)

    def _tell_commit(self) -> None:
        self._notice = None
        for progress in self.progress.values():
            if self._lacks_commit(progress):
                self._send(progress, [])

    def _send_entries(self, progress: Progress, last: int) -> None:
        after = progress.next_index - 1
        entries, size = self._batches.after(after)
        if progress.leaves_at:
            entries = entries[: last - after]
        if progress.pipelined:
            progress.inflight.append((after + len(entries), size))
            progress.inflight_bytes += size
            self._send(progress, entries)
            progress.next_index += len(entries)
        else:
            progress.probing = True
            self._send(progress, entries)

    def _send(self, progress: Progress, entries: list[Committed], wall_us: int = 0) -> None:
        # A peer that gets a snapshot is told where the log begins: it may have that already.
        prev = max(progress.next_index - 1, self.log.base_index)
        if progress.heard_at == -math.inf:
            # Asked for in every message until it answers: leader time must be right before the first session.
            wall_us = self.state.clock.wall_us()
        progress.sent_commit = self.log.commit_index
        data = {
            "type": "append_entries",
            "term": self.storage.term,
            "leader_id": self.id,
            "prev_log_index": prev,
            "prev_log_term": self.log.term_at(prev),
            "entries": entries,
            "commit_index": self.log.commit_index,
            "request_id": self.request_id,
            "wall_us": wall_us,
            "agreed": self.state.host.agreed_digest() if wall_us else (0, b""),
            "counts": counts_again(progress, self.log.commit_index),
        }
        self.state.server.send(data, progress.id)

    def on_receive_append_entries_response(self, data: Data) -> None:
        if data["term"] != self.storage.term:
            super().on_receive_append_entries_response(data)
            return
        progress = self._heard(data)
        if progress is None:
            return
        if "wall_us" in data:
            self.state.host.observe_clock(progress.id, data["wall_us"])
            _, digest_index, digest = data["applied"]
            if digest:
                self.state.host.peer_digest(progress.id, digest_index, digest)
        if not data["success"]:
            self._refused(progress, data)
        else:
            self._accepted(progress, data["last_log_index"])

    def _heard(self, data: Data) -> Progress | None:
        """Who answered, if the log is sent there."""
        progress = self.progress.get(data["sender"])
        if progress is None or not is_of_this_life(progress, data, self.request_id):
            return None
        if progress.blank_life and not (progress.counts_from or progress.leaves_at or self.transferring):
            note_blank(self.id, progress, self._append([self.state.host.noop()]))
        progress.heard_at = self.state.loop.time()
        if data["request_id"] > progress.acked_round:
            progress.acked_round = min(data["request_id"], self.request_id)
            self._count_round()
        return progress

    def on_receive_install_snapshot_response(self, data: Data) -> None:
        if data["term"] != self.storage.term:
            super().on_receive_install_snapshot_response(data)
        elif (progress := self._heard(data)) is not None:
            self._sending.answered(progress, data)
            self.state.server.log_changed()

    def _accepted(self, progress: Progress, match_index: int) -> None:
        before = progress.match_index
        progress.pipelined, progress.probing, progress.denials = True, False, 0
        progress.matched(min(match_index, self.log.last_log_index))
        self._sending.accepted(progress)
        if progress.match_index > before:
            self.update_commit_index()
        self.state.server.log_changed()

    def _refused(self, progress: Progress, data: Data) -> None:
        prev = data["prev_log_index"]
        stale = prev <= progress.match_index or (not progress.pipelined and prev != progress.next_index - 1)
        if data["conflict_index"] <= progress.match_index:
            note_denial(self.id, progress)
        if stale:
            return
        next_index = min(data["conflict_index"], prev)
        if data["conflict_term"]:
            mine = self.log.last_upto_term(data["conflict_term"])
            shared = self.log.term_at(mine) == data["conflict_term"]
            next_index = min(mine + 1, prev) if shared else min(mine + 1, next_index)
        progress.rewind(next_index)
        self.state.server.log_changed()

    def update_commit_index(self) -> None:
        """Commit what a majority has on its disk, as soon as an entry of this term is among it.

        This voter is one of the majority: no follower may tell of a commit that its own leader cannot read back.
        """
        durable = self.state.writer.durable_index
        majority = self.audience.majority(durable, [peer.counted_index for peer in self.audience.voting])
        majority = min(majority, durable)
        if majority > self.log.commit_index and self.log.term_at(majority) == self.storage.term:
            before = self.log.commit_index
            self.log.commit(majority)
            self.state.server.log_changed()
            if self.audience.left_by_leader(before):
                self.abdicate()
            unread, self._unread = self._unread, []
            for read in unread:
                self._confirm_read(read)

    def on_receive_forward(self, data: Data) -> None:
        """Append a follower's proposals, once however often they arrive."""
        if data["term"] != self.storage.term:
            return
        number = data["number"]
        answered = self._forwarded.of(data["sender"], number, self.state.loop.time())
        if answered is None:
            return
        response = answered.find(number)
        if response is None:
            if answered.forgotten(number):
                return
            response = self._append_forward(data)
            answered.note(number, response)
        self.state.server.send(response, data["sender"])

    def _append_forward(self, data: Data) -> Data:
        code, first_index = "", 0
        if self.transferring:
            code = NO_LEADER
        elif self.overloaded(sum(map(len, data["proposals"]))):
            code = OVERLOADED
        else:
            first_index = self.execute_command(data["proposals"])
            if (progress := self.progress.get(data["sender"])) is not None:
                progress.forwarded_index = self.log.last_log_index
        return {
            "type": "forward_response",
            "term": self.storage.term,
            "number": data["number"],
            "accepted": not code,
            "code": code,
            "first_index": first_index,
            "entry_term": self.storage.term,
        }

    def overloaded(self, more_bytes: int) -> bool:
        """Whether too much waits for a majority to take on this as well."""
        settings, log = self.state.settings, self.log
        waiting = log.last_log_index - log.commit_index
        return waiting >= settings.max_pending or log.uncommitted_bytes + more_bytes > settings.max_pending_bytes

    def on_durable(self) -> None:
        self.update_commit_index()

    def _count_round(self) -> None:
        self._reach(self.audience.majority(self.request_id, [peer.counted_round for peer in self.audience.voting]))

    def _reach(self, confirmed: int) -> None:
        if self.rounds.reach(confirmed):
            self.step_down_timer.reset()
            state = self.state
            state.server.freshness.heard(self.log.commit_index, state.host.applied()[0], state.clock.boot_us())

    def confirm(self) -> asyncio.Future[None]:
        """Done when a quorum has answered a round that begins after this call; ends in NotLeader otherwise."""
        return self.rounds.wait(self.request_id)

    def read_index(self) -> asyncio.Future[int]:
        """What is committed now, once it is confirmed that no other leader committed more before this call.

        A leader learns what is committed with the first entry of its own term, so an earlier call waits for that.
        """
        future: asyncio.Future[int] = self.state.loop.create_future()
        if self.log.term_at(self.log.commit_index) == self.storage.term:
            self._confirm_read(future)
        else:
            self._unread.append(future)
        return future

    def _confirm_read(self, read: asyncio.Future[int]) -> None:
        index = self.log.commit_index

        def confirmed(done: asyncio.Future[None]) -> None:
            error = done.exception()
            if read.done():
                return
            if error is None:
                read.set_result(index)
            else:
                read.set_exception(NotLeader(*error.args))

        self.confirm().add_done_callback(confirmed)

    def on_receive_read_index(self, data: Data) -> None:
        sender, number = question = (data["sender"], data["number"])
        if question in self._asked:
            return

        def answer(done: asyncio.Future[int]) -> None:
            self._asked.discard(question)
            if done.exception() is None:
                response = {"type": "read_index_response", "term": self.storage.term, "number": number}
                self.state.server.send({**response, "confirmed": True, "index": done.result()}, sender)

        self._asked.add(question)
        self.read_index().add_done_callback(answer)

    def follow(self, data: Data) -> None:
        """Two leaders in one term cannot be; whoever says so is not believed."""
