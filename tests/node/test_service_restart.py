"""Services that end or fall ill, and are begun again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cortex.v1 import types_pb2 as t
from node.worker.port import StopOrder
from tests.node.service_kit import Services, services
from tests.node.supervisor_kit import until
from tests.node.test_service import HTTP, LISTENING

SOON = {"backoff_s": 0.01, "max_backoff_s": 0.02}
TWICE = {**SOON, "policy": "on_failure", "max_restarts": 2}


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Services]:
    async with services(tmp_path) as made:
        yield made


async def test_one_that_fails_is_begun_again_as_often_as_it_may(here: Services) -> None:
    order = here.start("sh", "-c", "echo life; exit 7", restart=TWICE)
    ended = await here.end(order)
    assert (ended.cause, ended.result.exit_code) == (t.CAUSE_EXIT, 7)
    assert ended.error == "The service ended with exit code 7. It was restarted twice before."
    assert ended.result.stdout.head == b"life\n" * 3
    assert here.messages()[-1:] == ["Ready again after restart 2."]
    assert not here.starting


@pytest.mark.parametrize(("policy", "lives"), [("never", 1), ("on_failure", 1), ("always", 3)])
async def test_one_that_is_done_is_begun_again_only_always(here: Services, policy: str, lives: int) -> None:
    order = here.start("echo", "life", restart={**TWICE, "policy": policy})
    ended = await here.end(order)
    assert (ended.cause, ended.result.exit_code) == (t.CAUSE_UNSPECIFIED, 0)
    assert ended.result.stdout.head == b"life\n" * lives


async def test_a_new_life_tells_where_it_is_reached_now(here: Services) -> None:
    code = "open('lives', 'a').write('x'); n = os.path.getsize('lives')\nsay('at', n)\n"
    order = here.python(
        code + "sys.exit(1) if n < 3 else time.sleep(1000)",
        ready={"pattern": "at (?P<life>.)"}, restart=TWICE,
    )  # fmt: skip
    assert await here.ready(order, times=3) == {"life": "3"}


async def test_one_that_falls_ill_is_stopped_and_begun_again(here: Services) -> None:
    order = here.python(
        "if os.path.exists('sick'): os.unlink('sick')\nelse: os.mknod('sick.next')\n" + HTTP,
        ready={"pattern": LISTENING, "port": "{number}"},
        health={"url": "http://{web}/", "interval_s": 0.1, "failures": 2},
        restart=TWICE,
    )
    await here.ready(order)
    (folder,) = (path for path in (here.watched.data / "work").rglob("sick.next"))
    folder.rename(folder.with_name("sick"))
    await here.ready(order, times=2)


async def test_what_was_wrong_with_it_is_said_in_the_end(here: Services) -> None:
    order = here.python(
        HTTP,
        ready={"pattern": LISTENING},
        health={"url": "http://{web}/none", "interval_s": 0.1, "failures": 2},
    )
    ended = await here.end(order)
    assert ended.cause == t.CAUSE_EXIT
    assert ended.error == "The service failed 2 health checks in a row, the last by: HTTP status 404."


async def test_a_stop_counts_while_it_waits_to_begin_again(here: Services) -> None:
    order = here.start("false", restart={"policy": "always", "backoff_s": 1000, "max_backoff_s": 1000})
    await here.ready(order)
    await until(lambda: "The service ended with exit code 1. Restart 1 of 5 in 1000 s." in here.messages())
    assert here.starting, "what it told of its readiness holds no more"
    here.watched.port.stop([StopOrder(order.key, t.CAUSE_CANCEL, order.kill_timeout_us)])
    assert (await here.end(order)).cause == t.CAUSE_CANCEL
