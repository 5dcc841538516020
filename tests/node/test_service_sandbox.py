"""Services in the sandboxes of this machine."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cortex.v1 import types_pb2 as t
from node.worker.port import StopOrder
from tests.node.sandbox_kit import BOTH, DEFAULT, STRICT, needs_sandbox
from tests.node.service_kit import Services, services
from tests.node.test_sandbox_held import standing_in
from tests.node.test_service import LISTENING, PORT, stop

pytestmark = needs_sandbox

LOOK = (
    "say('uid', os.getuid(), 'writes', int(os.access('/usr', os.W_OK)), 'pid', os.getpid() < 20,"
    " 'secret', os.path.exists({secret!r}), 'order', 'CORTEX_ORDER' in os.environ)\n"
    "open('mine', 'w').close()\n"
)

# Its first words come when it is old enough to be told once that it must stop: in doubt it is told twice.
GOODBYE = "trap 'echo goodbye; {wait}exit 0' TERM; sleep 0.05; echo up; sleep 1000 & wait"


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Services]:
    async with services(tmp_path) as made:
        yield made


@BOTH
async def test_it_is_reached_from_outside_and_sees_only_what_its_level_shows(
    here: Services, tmp_path: Path, level: int
) -> None:
    (tmp_path / "secret").write_text("s")
    code = LOOK.format(secret=str(tmp_path / "secret")) + PORT + "sock.accept()\ntime.sleep(1000)"
    order = here.python(code, sandbox=level, ready={"pattern": LISTENING, "port": "{number}"})
    endpoints = await here.ready(order)
    assert endpoints["port"] == endpoints["web"]
    uid = 65534 if os.geteuid() == 0 else os.geteuid()
    await here.watched.says(order, b"uid %d writes 0 pid True secret False order False" % uid)
    await stop(here, order)
    ended = await here.end(order)
    # Its own program only reports how it ended, and a TERM is not for that.
    assert (ended.cause, ended.result.signal) == (t.CAUSE_CANCEL, signal.SIGTERM)


@BOTH
async def test_it_may_say_goodbye(here: Services, level: int) -> None:
    order = here.start("sh", "-c", GOODBYE.format(wait=""), sandbox=level, ready={"pattern": "^up$"})
    await here.ready(order)
    await stop(here, order)
    ended = await here.end(order)
    assert (ended.cause, ended.result.stdout.head) == (t.CAUSE_CANCEL, b"up\ngoodbye\n")


async def test_one_that_was_heard_is_told_to_stop_once(here: Services) -> None:
    order = here.start("sh", "-c", GOODBYE.format(wait="sleep 1.1; "), sandbox=DEFAULT, ready={"pattern": "^up$"})
    await here.ready(order)
    await stop(here, order)
    assert (await here.end(order)).result.stdout.head == b"up\ngoodbye\n"


async def test_one_that_ignores_a_stop_is_killed(here: Services) -> None:
    order = here.start("sh", "-c", "trap '' TERM; echo up; setsid sleep 1000 & sleep 1000",
                       sandbox=DEFAULT, ready={"pattern": "^up$"}, kill_timeout_ms=300)  # fmt: skip
    await here.ready(order)
    here.watched.port.stop([StopOrder(order.key, t.CAUSE_CANCEL, order.kill_timeout_us)])
    assert (await here.end(order)).cause == t.CAUSE_CANCEL


async def test_a_program_that_its_level_does_not_show_is_no_use_to_begin_again(here: Services) -> None:
    program = here.watched.data / "serve"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    order = here.start(str(program), sandbox=STRICT, restart={"policy": "always"})
    ended = await here.end(order)
    assert ended.cause == t.CAUSE_CANNOT_START
    assert ended.error.startswith("The command cannot start in its sandbox:")
    assert "No such file or directory" in ended.error


async def test_a_folder_that_became_another_one_between_lives(tmp_path: Path) -> None:
    script = "echo at $PWD; until [ -e go ]; do sleep 0.02; done; exit 1"
    soon = {"policy": "on_failure", "backoff_s": 0.01, "max_backoff_s": 0.01}
    pattern = {"pattern": "^at (?P<place>.*)$"}
    bwrap = standing_in(tmp_path, "", older=True)  # another would go on with the one that was checked
    async with services(tmp_path / "data", bwrap=bwrap) as here:
        order = here.start("sh", "-c", script, sandbox=DEFAULT, restart=soon, ready=pattern)
        swap(Path((await here.ready(order))["place"]))
        ended = await here.end(order)
    assert ended.cause == t.CAUSE_CANNOT_START
    assert "its working directory became another one" in ended.error


def swap(place: Path) -> None:
    """Put another folder into its path, and let who waits in it go on."""
    before = place.rename(place.with_name("before"))
    place.mkdir()
    (before / "go").touch()


async def test_it_adds_to_the_context_of_its_workflow(here: Services) -> None:
    path = here.watched.data / "update"
    order = here.start(
        "sh", "-c", 'echo x > "$CORTEX_CONTEXT_UPDATE"',
        sandbox=STRICT, env={b"CORTEX_CONTEXT_UPDATE": os.fsencode(path)},
    )  # fmt: skip
    assert (await here.end(order)).cause == t.CAUSE_UNSPECIFIED
    assert path.read_text() == "x\n"


async def test_each_life_is_in_a_sandbox_of_its_own(here: Services) -> None:
    script = "ls /tmp | grep left; touch /tmp/left; echo life >> lives; [ $(wc -l < lives) = 2 ]"
    soon = {"policy": "on_failure", "backoff_s": 0.01, "max_backoff_s": 0.01}
    ended = await here.end(here.start("sh", "-c", script, sandbox=STRICT, restart=soon))
    assert (ended.cause, ended.result.stdout.head) == (t.CAUSE_UNSPECIFIED, b"")
