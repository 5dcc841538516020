"""What a supervisor that was killed left running: nobody ends its leases or reads its output any more."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping

from node.supervisor.journal import Journal, Mark
from node.supervisor.kin import Process, all_pids, identified, is_same, is_zombie, key_of, send, session_of

_ROUNDS = 250
# So long is whoever leads a session spared while others of it live.
_ROUNDS_OF_MEMBERS = 50


def end_remnants(journal: Journal, boot_id: str, identity: str) -> None:
    """Kill what is left of attempts that have a mark and no result. None of it is a child of this process."""
    marks = {
        key: mark for key, mark in journal.marks.items() if key not in journal.results and mark.boot_id == boot_id
    }
    if not marks:
        return
    for turn in range(_ROUNDS):
        leaders, members = _left_of(marks, identity)
        if not leaders and not members:
            return
        # While its leader lives, a session is known to be theirs: members with another environment are told by it.
        for process in members if members and turn < _ROUNDS_OF_MEMBERS else leaders + members:
            send(process, signal.SIGKILL)
        # No loop runs yet, and what is not a child of this process tells nobody that it died.
        time.sleep(0.02)


def _left_of(marks: Mapping[str, Mark], identity: str) -> tuple[list[Process], list[Process]]:
    """Those that lead a session, and all others."""
    firsts = {mark.pid: mark for mark in marks.values() if mark.pid}
    own = os.getpid()
    leaders: dict[int, Process] = {}
    members: list[Process] = []
    others: list[Process] = []
    for pid in all_pids():
        if pid == own or is_zombie(pid):
            continue
        process = identified(pid)
        if key_of(pid, identity) not in marks and not (pid in firsts and began_as(process, firsts[pid])):
            others.append(process)
        elif session_of(pid) == pid:
            leaders[pid] = process
        else:
            members.append(process)
    hidden = [process for process in others if session_of(process[0]) in leaders]
    sure = {pid for pid, process in leaders.items() if is_same(process)}
    return list(leaders.values()), members + [each for each in hidden if session_of(each[0]) in sure]


def began_as(process: Process, mark: Mark) -> bool:
    """Whether it is the process that was spawned for `mark`."""
    tick_us = 1_000_000 // os.sysconf("SC_CLK_TCK")
    started_us = process[1] * tick_us  # rounded down
    return mark.begun_us - tick_us <= started_us <= mark.spawned_us
