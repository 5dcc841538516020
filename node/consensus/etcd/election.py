"""Who leads: the member that holds the leader's key, for as long as its lease lasts by its own clock."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

import structlog

from node.consensus.etcd.following import Following
from node.consensus.etcd.keys import Keys, decode_head
from node.consensus.etcd.leading import Leading
from node.consensus.etcd.lease import Lease
from node.consensus.etcd.settings import EtcdSettings
from node.consensus.etcd.store import CreatedAt, Delete, Etcd, Get, Operation, Put, Refused, Unreachable
from node.consensus.port import Host, NotLeader
from node.env import Env


class Election:
    """run() stands whenever nobody leads, and leads. `changed` is told of every news."""

    def __init__(
        self,
        etcd: Etcd,
        keys: Keys,
        settings: EtcdSettings,
        env: Env,
        own_id: str,
        host: Host,
        following: Following,
        is_voter: Callable[[], bool],
        changed: Callable[[], None],
    ) -> None:
        self._etcd, self._keys, self._settings, self._env = etcd, keys, settings, env
        self._id, self._host, self._following = own_id, host, following
        self._is_voter, self._changed = is_voter, changed
        self._log = structlog.get_logger(node=own_id)
        self.may_stand = True
        self._news = asyncio.Event()
        self._heir_until = 0.0
        self._heir = ""
        self._abdicating: asyncio.Task[None] | None = None
        self._lease: Lease | None = None
        self.standing = False
        self.leading: Leading | None = None

    def wake(self) -> None:
        """Something that run() or step() may wait for has changed."""
        self._news.set()

    async def step(self) -> None:
        """Return at the next news, or a little later."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._settings.forward_retry_s):
                self._news.clear()
                await self._news.wait()

    def allow(self, allowed: bool, heir: Callable[[], str | None]) -> None:
        self.may_stand = allowed
        self.wake()
        leading = self.leading
        if not allowed and leading is not None and self._abdicating is None:
            work = self._resign(leading, heir() or "")
            self._abdicating = asyncio.get_running_loop().create_task(work)
            self._abdicating.add_done_callback(self._abdicated)

    def _abdicated(self, done: asyncio.Task[None]) -> None:
        self._abdicating = None
        if not done.cancelled():
            done.exception()

    async def run(self) -> None:
        while True:
            wait_s = self._wait_s()
            if wait_s is None or wait_s > 0:
                await self.step()
                continue
            # Not all at once; whoever was named goes first.
            if self._following.heir != self._id:
                await asyncio.sleep(self._env.random.uniform(0, self._settings.jitter_s))
            if self._wait_s() == 0:
                await self._stand()

    def _wait_s(self) -> float | None:
        """When to stand: 0 now, None not for now."""
        following = self._following
        if not following.synced or not self.may_stand or not self._is_voter():
            return None
        if following.holder is not None and following.holder.id != self._id:
            self._heir = ""
            return None
        now = asyncio.get_running_loop().time()
        if following.heir != self._heir:
            self._heir = following.heir
            self._heir_until = now + self._settings.transfer_timeout_s / 2
        if self._heir not in ("", self._id):
            return max(0.0, self._heir_until - now)
        return 0

    async def _stand(self) -> None:
        self.standing = True
        self._changed()
        try:
            leading = await self._win()
        except (Unreachable, Refused) as error:
            self._log.warning("cannot stand for leadership", error=str(error))
            leading = None
            await asyncio.sleep(self._settings.retry_s)
        finally:
            self.standing = False
        if leading is None:
            self._changed()
            await self.step()
            return
        self.leading = leading
        self._log.info("leads", term=leading.term)
        self._changed()
        try:
            await leading.run()
        finally:
            self.leading = None
            self._log.info("leads no more", term=leading.term)
            # It may be ours still, unused.
            self._following.holder = None
            self._changed()
        if leading.resigning:
            # The transaction that names the heir comes first.
            await leading.resigned.wait()
        await leading.lease.revoke()
        self._lease = None
        await self.step()

    async def _win(self) -> Leading | None:
        """Take the leader's key, if nobody has it."""
        keys, stale = self._keys, self._following.holder
        if stale is not None:
            # An earlier life's, which ended before this one began.
            await self._etcd.transact([CreatedAt(keys.leader, stale.revision)], [Delete(keys.leader)])
        self._lease = lease = await Lease.grant(self._etcd, self._env.clock, self._settings)
        then: list[Operation] = [Put(keys.leader, self._id.encode(), lease.id), Delete(keys.heir), Get(keys.head)]
        try:
            outcome = await self._etcd.transact([CreatedAt(keys.leader, 0)], then)
        except BaseException:
            await lease.revoke()
            raise
        if not outcome.succeeded:
            await lease.revoke()
            return None
        term = self._following.base_term + outcome.revision
        head = decode_head(outcome.found[keys.head].value)
        return Leading(
            self._etcd,
            keys,
            self._settings,
            self._host,
            lease,
            outcome.revision,
            term,
            head,
            self._following.take,
        )

    async def hand_over(self, leading: Leading, heir: Callable[[], str | None]) -> None:
        """Accept nothing more, wait until `heir` names somebody, and let go. Raises NotLeader."""
        leading.transferring = True
        try:
            while (to := heir()) is None or leading.waiting:
                if self.leading is not leading:
                    raise NotLeader("this member leads no more")
                await self.step()
            await leading.idle()
            await self._resign(leading, to)
        finally:
            leading.transferring = False

    async def _resign(self, leading: Leading, heir: str) -> None:
        keys = self._keys
        then: list[Operation] = [Delete(keys.leader), Put(keys.heir, heir.encode())]
        leading.transferring = leading.resigning = True
        # Not after: another one may lead before the answer is here.
        leading.lease.end()
        self._changed()
        try:
            await self._etcd.transact([leading.own_key], then)
        except (Unreachable, Refused):
            pass
        finally:
            self._following.heir = self._heir = heir
            self._heir_until = asyncio.get_running_loop().time() + self._settings.transfer_timeout_s / 2
            leading.resigned.set()

    async def give_up(self) -> None:
        """After run() was cancelled: leave nothing behind."""
        if self._abdicating is not None:
            self._abdicating.cancel()
        if self._lease is not None:
            await self._lease.revoke()
