"""Trimming of the past: what is older or more than the settings keep is named in the log, page by page.

Level-triggered: a pass asks the store what is oldest, so a new leader goes on where the one before it stopped, and
where nothing is too old there is no entry.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NamedTuple

import structlog

from cortex.v1.log_pb2 import Command, HistoryTrim, RequestRef
from cortex.v1.types_pb2 import NodeState
from node.core import settings
from node.core.faults import Fault
from node.core.model import DEAD_LETTER, ENDED
from node.core.transitions.batches import BATCH_KEPT_US
from node.core.transitions.cluster import REPLY_KEPT_US
from node.core.transitions.keys import SUBMIT_KEY_KEPT_US
from node.env import Clock
from node.leader.port import Replica, Settings
from node.store.past import Aged, AgedWorkflow

# Rows of one entry: few enough that applying it holds up no loop for long.
_PAGE_ROWS = 500
_PASS_S = 60.0
_PAUSE_S = 0.1
# Trimming takes at most this part of the time that it could.
_SHARE = 1 / 3
# What has just expired waits for company, else trimming would leave one event for each that it takes.
_COMPANY_US = 6 * 3600 * 1_000_000


class _Page(NamedTuple):
    trim: HistoryTrim
    full: bool


class History:
    """A duty: trim() runs while this daemon leads."""

    def __init__(self, clock: Clock, replica: Replica, leader: Settings) -> None:
        self._clock = clock
        self._replica = replica
        self._log = structlog.get_logger(node=leader.node_id)

    async def trim(self) -> None:
        """Pass after pass over all that expires. Runs until cancelled."""
        while True:
            more = False
            for find in (
                self._tasks,
                self._workflows,
                self._dead_letters,
                self._events,
                self._double_runs,
                self._operations,
                self._nodes,
                self._replies,
                self._keys,
                self._batches,
            ):
                page = find(self._replica.now_us())
                if page is not None:
                    more |= await self._propose(page.trim) and page.full
            if not more:
                await asyncio.sleep(_PASS_S)

    async def _propose(self, trim: HistoryTrim) -> bool:
        """Whether it is applied, and saved, so that nothing of it is named again."""
        begun_us = self._clock.boot_us()
        try:
            reply = await self._replica.execute([Command(history_trim=trim)])
            await self._replica.saved_through(reply.index)
        except Fault as fault:
            self._log.warning("history not trimmed", error=fault.message)
            return False
        took_s = (self._clock.boot_us() - begun_us) / 1e6
        await asyncio.sleep(max(_PAUSE_S, took_s * (1 / _SHARE - 1)))
        return True

    def _tasks(self, now_us: int) -> _Page | None:
        excess = self._excess()
        if excess > 0 and self._begins_with_workflow(now_us):
            return None
        kept_us = self._setting(settings.ENDED_TASKS_KEPT_S) * 1_000_000
        return self._ended(self._replica.past.ended_tasks, now_us, excess, kept_us)

    def _workflows(self, now_us: int) -> _Page | None:
        """Whole workflows, as many as one entry may take, at least one."""
        excess = self._excess()
        if excess > 0 and self._begins_with_workflow(now_us):
            found = self._old_workflows(now_us, now_us, _PAGE_ROWS)
        else:
            excess = 0
            kept_us = self._setting(settings.ENDED_TASKS_KEPT_S) * 1_000_000
            # Failed ones hold dead letters.
            failed_us = now_us - self._setting(settings.DEAD_LETTERS_KEPT_S) * 1_000_000
            found = self._old_workflows(now_us - kept_us, failed_us, _PAGE_ROWS)
            if not _overdue([Aged(item.id, item.at_us) for item in found], now_us, kept_us):
                return None
        chosen: list[AgedWorkflow] = []
        tasks = 0
        for item in found:
            if chosen and (tasks + item.tasks > _PAGE_ROWS or 0 < excess <= tasks):
                break
            chosen.append(item)
            tasks += item.tasks
        if not chosen:
            return None
        trim = HistoryTrim(before_us=chosen[-1].at_us + 1, workflows=[item.id for item in chosen])
        return _Page(trim, len(chosen) < len(found) or len(found) == _PAGE_ROWS)

    def _begins_with_workflow(self, now_us: int) -> bool:
        """Whether the oldest of all that has ended is a workflow: what is too many goes by age, page by page."""
        workflows = self._old_workflows(now_us, now_us, 1)
        tasks = self._replica.past.ended_tasks(now_us, now_us - SUBMIT_KEY_KEPT_US, 1)
        return bool(workflows) and (not tasks or workflows[0].at_us < tasks[0].at_us)

    def _excess(self) -> int:
        """How many ended tasks there are too many, those of workflows among them."""
        counts = self._replica.past.counts().by_state
        count = sum(counts.get(state, 0) for state in ENDED - {DEAD_LETTER})
        return count - self._setting(settings.MAX_ENDED_TASKS)

    def _old_workflows(self, before_us: int, failed_before_us: int, limit: int) -> list[AgedWorkflow]:
        keyed_us = self._replica.now_us() - SUBMIT_KEY_KEPT_US
        return self._replica.past.ended_workflows(before_us, failed_before_us, keyed_us, limit)

    def _dead_letters(self, now_us: int) -> _Page | None:
        count = self._replica.past.counts().by_state.get(DEAD_LETTER, 0)
        excess = count - self._setting(settings.MAX_DEAD_LETTERS)
        kept_us = self._setting(settings.DEAD_LETTERS_KEPT_S) * 1_000_000
        return self._ended(self._replica.past.old_dead_letters, now_us, excess, kept_us)

    def _ended(
        self, oldest: Callable[[int, int, int], list[Aged]], now_us: int, excess: int, kept_us: int
    ) -> _Page | None:
        """The oldest beyond a count, else those beyond an age."""
        keyed_us = now_us - SUBMIT_KEY_KEPT_US
        if excess > 0:
            found = oldest(now_us, keyed_us, min(excess, _PAGE_ROWS))
        else:
            found = _overdue(oldest(now_us - kept_us, keyed_us, _PAGE_ROWS), now_us, kept_us)
        if not found:
            return None
        trim = HistoryTrim(before_us=found[-1].at_us + 1, ids=[item.id for item in found])
        return _Page(trim, len(found) == _PAGE_ROWS)

    def _events(self, now_us: int) -> _Page | None:
        kept_us = self._setting(settings.EVENTS_KEPT_S) * 1_000_000
        found = _overdue(self._replica.past.old_events(now_us - kept_us, _PAGE_ROWS), now_us, kept_us)
        if not found:
            return None
        trim = HistoryTrim(before_us=found[-1].at_us + 1, event_ids=[item.id for item in found])
        return _Page(trim, len(found) == _PAGE_ROWS)

    def _double_runs(self, now_us: int) -> _Page | None:
        past = self._replica.past
        kept_us = self._setting(settings.DOUBLE_RUNS_KEPT_S) * 1_000_000
        excess = past.double_run_count() - self._setting(settings.MAX_DOUBLE_RUNS)
        if excess > 0:
            found = past.old_double_runs(now_us, min(excess, _PAGE_ROWS))
        else:
            found = _overdue(past.old_double_runs(now_us - kept_us, _PAGE_ROWS), now_us, kept_us)
        if not found:
            return None
        trim = HistoryTrim(before_us=found[-1].at_us + 1, double_runs=[item.id for item in found])
        return _Page(trim, len(found) == _PAGE_ROWS)

    def _operations(self, now_us: int) -> _Page | None:
        past = self._replica.past
        kept_us = self._setting(settings.OPERATIONS_KEPT_S) * 1_000_000
        excess = past.ended_operation_count() - self._setting(settings.MAX_OPERATIONS)
        if excess > 0:
            found = past.ended_operations(now_us, min(excess, _PAGE_ROWS))
        else:
            found = _overdue(past.ended_operations(now_us - kept_us, _PAGE_ROWS), now_us, kept_us)
        if not found:
            return None
        trim = HistoryTrim(before_us=found[-1].at_us + 1, operations=[item.id for item in found])
        return _Page(trim, len(found) == _PAGE_ROWS)

    def _nodes(self, now_us: int) -> _Page | None:
        """Removed ones, as long after that as ended tasks are kept."""
        state = self._replica.state
        kept_us = self._setting(settings.ENDED_TASKS_KEPT_S) * 1_000_000
        old = [
            Aged(row.id, row.changed_at_us)
            for row in state.nodes.values()
            if row.state == NodeState.NODE_STATE_REMOVED
            and row.changed_at_us < now_us - kept_us
            and row.id not in state.by_node
        ]
        found = _overdue(sorted(old, key=lambda item: (item.at_us, item.id))[:_PAGE_ROWS], now_us, kept_us)
        if not found:
            return None
        trim = HistoryTrim(before_us=found[-1].at_us + 1, nodes=[item.id for item in found])
        return _Page(trim, len(found) == _PAGE_ROWS)

    def _replies(self, now_us: int) -> _Page | None:
        old = self._replica.past.expired_replies(now_us - REPLY_KEPT_US, _PAGE_ROWS)
        found = _overdue(old, now_us, REPLY_KEPT_US)
        trim = HistoryTrim(requests=[_request(item.id) for item in found])
        return _Page(trim, len(found) == _PAGE_ROWS) if found else None

    def _keys(self, now_us: int) -> _Page | None:
        old = self._replica.past.expired_submit_keys(now_us - SUBMIT_KEY_KEPT_US, _PAGE_ROWS)
        found = _overdue(old, now_us, SUBMIT_KEY_KEPT_US)
        trim = HistoryTrim(submit_keys=[item.id for item in found])
        return _Page(trim, len(found) == _PAGE_ROWS) if found else None

    def _batches(self, now_us: int) -> _Page | None:
        batches = self._replica.state.batches
        found = sorted(key for key, row in batches.items() if now_us >= row.at_us + BATCH_KEPT_US)[:_PAGE_ROWS]
        trim = HistoryTrim(batches=[_request(key) for key in found])
        return _Page(trim, len(found) == _PAGE_ROWS) if found else None

    def _setting(self, name: str) -> int:
        return settings.integer(self._replica.state.settings.get(name), name)


def _overdue(found: list[Aged], now_us: int, kept_us: int) -> list[Aged]:
    """What was found, if it is a whole page or its oldest has waited for long enough."""
    company_us = min(_COMPANY_US, kept_us // 4)
    if len(found) == _PAGE_ROWS or (found and found[0].at_us < now_us - kept_us - company_us):
        return found
    return []


def _request(key: str) -> RequestRef:
    client, _, request_id = key.partition("\0")
    return RequestRef(client=client, request_id=request_id)
