"""Which silence may be the condition's own doing: the end of its process is, a process that stands still is not."""

from __future__ import annotations

import os
import signal

import pytest

from node.conditions.port import Crashed, Question, Unanswered
from node.conditions.process import ProcessJudge


async def test_the_end_of_the_process_may_be_the_conditions_doing() -> None:
    judge = ProcessJudge()
    assert (await judge.judge(Question("1", b"{}"))).value
    os.kill(judge.pid, signal.SIGSEGV)
    with pytest.raises(Crashed, match="ended with -11"):
        await judge.judge(Question("1", b"{}"))
    assert (await judge.judge(Question("1", b"{}"))).value
    await judge.close()


async def test_a_process_that_stands_still_says_nothing_about_the_condition() -> None:
    judge = ProcessJudge(patience_s=0.2)
    while not judge.pid:  # on a busy machine its start may take longer than that
        try:
            await judge.judge(Question("1", b"{}"))
        except Unanswered:
            continue
    os.kill(judge.pid, signal.SIGSTOP)
    with pytest.raises(Unanswered) as caught:
        await judge.judge(Question("1", b"{}"))
    assert not isinstance(caught.value, Crashed)
    assert judge.pid == 0
    await judge.close()
