"""Time travel in the console, over a real cluster: before a cordon, what it changed, and back."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.e2e.console_terminal import ConsoleTerminal
from tests.e2e.harness import Cluster, shell, wait_all_ended

pytestmark = pytest.mark.e2e
PATIENCE_S = 60.0


def row_of(console: ConsoleTerminal, node: str) -> str:
    """Its line in the table of nodes; empty when that is not shown."""
    lines = [line for line in console.text.splitlines() if f" {node} " in line and " voter " in line]
    return lines[0] if lines else ""


def go_to(console: ConsoleTerminal, moment: str) -> None:
    """Type a moment into the dialog that asks for it."""
    console.type("&")
    console.until("Show the cluster as it was")
    console.type(f"{moment}\r")


@pytest.mark.parametrize("size", [(80, 24), (200, 50)])
async def test_before_a_cordon_and_back(make_cluster: Callable[..., Cluster], size: tuple[int, int]) -> None:
    cluster = make_cluster()
    async with cluster.client() as client:
        await cluster.whole(client)
        ids = {(await client.submit(shell(f"echo {number}"))).id for number in range(3)}
        await wait_all_ended(client, ids, PATIENCE_S)
        before = (await client.get_task(min(ids))).index
        cordoned = await client.cordon("n3", "new disk")
        later = (await client.submit(shell("echo later"))).id
        await wait_all_ended(client, {later}, PATIENCE_S)
    console = ConsoleTerminal(cluster.console_environ(), size)
    try:
        console.until("● live")
        console.until(lambda: "cordoned" in row_of(console, "n3"))
        console.type("T")
        console.until(lambda: "PAST" in console.line_with(" cortex ") and "as of" in console.text)
        console.until("step ")
        go_to(console, str(before))
        console.until(f"index {before:,}")
        console.until(lambda: "active" in row_of(console, "n3"))
        console.type("C")
        console.until("This is the past: T or esc returns to now.")
        console.type("2")
        console.until("completed")
        assert later[-8:] not in console.text
        console.type("%")
        console.until(f"$ cortex diff --from {before}")
        console.until(lambda: "cordoned" in console.text and "new disk" in console.text)
        console.type("G")
        console.until(lambda: "new disk" in console.line_with("▌ node"))
        console.type("\r")
        console.until(lambda: "active" in console.text and "DETAILS" in console.text)
        console.type("q")
        console.until("$ cortex diff")
        console.type("T")
        console.until("● live")
        console.type("1")
        console.until(lambda: "cordoned" in row_of(console, "n3"))
        go_to(console, "1")
        console.until("That is before the oldest event")
        console.type("5")
        console.until("a audit")
        console.type("a")
        console.until(lambda: "audit" in console.text and "new disk" in console.text)
        console.type("Q")
        assert console.wait() == 0
    finally:
        console.close()
    said = cluster.cortex("diff", "--from", str(before), "--to", str(cordoned.index))
    assert b"new disk" in said.stdout
