"""The plan of a drain, out of a rehearsal that the daemon made and keeps. Pure."""

from __future__ import annotations

import shlex

from cortex.v1 import cluster_pb2, types_pb2
from tui.columns.base import Draw
from tui.drawing.draw import foreign
from tui.drawing.format import duration
from tui.drawing.text import clean
from tui.plans.base import Done, Plan
from tui.source import Mutator
from tui.store.drains import window_ms


def drain(draw: Draw, plan: types_pb2.DrainPlan) -> Plan:
    """Carries out a rehearsed plan as it was frozen; whether it still holds is judged by the daemon."""
    ascii_only = draw.glyphs.ascii_only
    name = clean(plan.node, ascii_only=ascii_only)
    leaving = [move.task for move in plan.moves] + [item.task for item in plan.stuck if item.dead_letter]
    node, plan_id = plan.node, plan.id
    begins = duration(window_ms(plan) * 1000)

    async def call(mutator: Mutator) -> Done:
        reply = await mutator.drain_node(cluster_pb2.DrainRequest(node=node, plan_id=plan_id))
        return Done(f"{name} is cordoned; its drain begins in {begins}.", reply.operation_id)

    command = f"cortex drain {shlex.quote(name)} --plan {shlex.quote(clean(plan_id, ascii_only=ascii_only))}"
    return Plan(
        "drain", f"Drain {name}", (foreign(plan.node, "strong", draw.glyphs),), (), (),
        command, frozenset(), (node,), call,
        count=max(1, len(leaving)), destroys=any(item.dead_letter for item in plan.stuck),
    )  # fmt: skip


def nothing(node: str, draw: Draw) -> Plan:
    """While there is no rehearsal."""

    async def call(_mutator: Mutator) -> Done:
        raise AssertionError("a plan without objects is not carried out")

    name = clean(node, ascii_only=draw.glyphs.ascii_only)
    return Plan("drain", f"Drain {name}", (), (), (), "", frozenset(), (), call)
