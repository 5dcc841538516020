"""The plan of a new task. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from cortex.v1 import cluster_pb2
from tui.columns.base import Draw
from tui.drawing.draw import Cell, command_of, count_of, foreign
from tui.drawing.text import fit
from tui.plans.base import Done, Plan, line, nodes_of
from tui.source import Mutator


def submit(
    draw: Draw,
    request: cluster_pb2.TaskRequest,
    command: str,
    verdicts: Sequence[cluster_pb2.NodeVerdict],
) -> Plan:
    """`command` is the same on the command line, `verdicts` what a dry run said."""
    glyphs = draw.glyphs
    head: Cell = (
        (fit("command", 10), "dim"),
        *foreign(command_of(request.spec), "strong", glyphs),
    )
    eligible = sorted((v for v in verdicts if v.eligible), key=lambda v: (-v.score, v.node))
    consequences: list[Cell] = []
    if eligible:
        best = eligible[0]
        consequences.append(
            (("Would go to ", "text"), *foreign(best.node, "strong", glyphs), (f", score {best.score:.1f}", "text"))
        )
        if len(eligible) > 1:
            consequences.append(line("dim", f"{nodes_of(len(eligible))} of {len(verdicts)} are eligible."))
    elif verdicts:
        consequences.append(line("warn", "No node is eligible now: it will wait in the queue."))
        consequences += [
            (("  ", "text"), *foreign(v.node, "text", glyphs), ("  ", "text"), *foreign(v.reason, "dim", glyphs))
            for v in verdicts[:5]
        ]
    consequences.append(line("dim", "A submit cannot be undone; the task can be cancelled while it waits or runs."))

    async def call(mutator: Mutator) -> Done:
        reply = await mutator.submit(request)
        known = " It was known already." if reply.deduplicated else ""
        return Done(f"Submitted as {reply.id} at index {count_of(reply.index)}.{known}")

    return Plan(
        "submit", "Submit 1 task", (head,), tuple(consequences), (), command, frozenset(), (), call,
    )  # fmt: skip


def submit_command(fields: dict[str, str]) -> str:
    """The command line that says the same as the form; `command` is run by `sh -c`."""
    words = ["cortex", "submit"]
    for name, value in fields.items():
        if name != "command" and value:
            words += [f"--{name.replace('_', '-')}", value]
    return shlex.join([*words, "--", "sh", "-c", fields.get("command", "")])
