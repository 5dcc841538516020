"""More tasks than one operation names: in several operations, or refused before anything is shown."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from cortex.v1 import cluster_pb2
from tests.tui import fake
from tests.tui.console import open_console
from tests.tui.fake_source import FakeSource
from tui.columns.base import Draw
from tui.drawing.draw import UNICODE, plain
from tui.plans import letters, tasks
from tui.plans.base import MAX_CHOSEN, MAX_IDS, Plan, in_parts
from tui.source import SourceError
from tui.store.view import ClusterView

MANY = 2 * MAX_IDS + 1
DEAD = [fake.task(number, "x", fake.DEAD, exit_code=1) for number in range(MANY)]
WAITING = [fake.task(number, "x", fake.QUEUED) for number in range(MANY)]


def planned(make: Callable[[Draw, Sequence[str]], Plan], rows: Sequence[object]) -> Plan:
    view = ClusterView()
    for row in rows:
        view.put_task(row)  # type: ignore[arg-type]
    return make(Draw(fake.NOW_US, 0.0, UNICODE, view), [row.id for row in view.tasks.values()])


PLANS: dict[str, tuple[Callable[[Draw, Sequence[str]], Plan], Sequence[object]]] = {
    "retry": (tasks.retry, DEAD),
    "cancel": (tasks.cancel, WAITING),
    "discard": (lambda draw, ids: letters.discard(draw, ids, "old"), DEAD),
    "set_priority": (lambda draw, ids: tasks.set_priority(draw, ids, 7), WAITING),
}


@pytest.mark.parametrize("verb", PLANS)
async def test_it_takes_several_operations_and_says_so(verb: str) -> None:
    plan = planned(*PLANS[verb])
    assert plan.radius == MANY
    assert not plan.left_out
    assert "In 3 operations of at most 1,000 tasks" in " ".join(map(plain, plan.consequences))
    source = FakeSource()
    done = await plan.call(source.mutator())
    assert [(call[0], len(call[1])) for call in source.calls] == [(verb, 1000), (verb, 1000), (verb, 1)]  # type: ignore[arg-type]
    assert len(done.audit) == 3
    assert {key for call in source.calls for key in call[1]} == set(plan.ids)  # type: ignore[attr-defined]


async def test_one_that_fails_on_the_way_says_how_far_it_came() -> None:
    asked: list[int] = []

    async def ask(part: Sequence[str]) -> cluster_pb2.MutationReply:
        asked.append(len(part))
        if len(asked) == 2:
            raise SourceError("Nobody leads.", "Wait for a leader.", "no_leader")
        return cluster_pb2.MutationReply()

    with pytest.raises(
        SourceError, match=r"1,000 of 2,001 tasks were asked for, then no more: Nobody leads\."
    ) as caught:
        await in_parts(["t"] * MANY, ask)
    assert caught.value.remedy == "Wait for a leader. Then ask for the rest again."
    assert caught.value.code == "", "what was done in part is not put off as a whole"
    asked.append(0)
    with pytest.raises(SourceError, match=r"^Nobody leads"):
        await in_parts(["t"], _refuse)


async def _refuse(_part: Sequence[str]) -> cluster_pb2.MutationReply:
    raise SourceError("Nobody leads.", "", "no_leader")


async def test_too_many_are_refused_before_anything_is_shown() -> None:
    async with open_console() as session:
        actions, ids = session.app.actions, ["t"] * (MAX_CHOSEN + 1)
        for act in (actions.cancel, actions.retry, actions.set_priority, actions.discard, actions.annotate):
            session.app.clear_note()
            act(ids)
            await session.settle()
            assert "20,001 are marked, " in session.lines[-1]
            assert len(session.app.screen_stack) == 1
        actions.annotate(["t"] * (MAX_IDS + 1))
        await session.settle()
        assert "1,001 are marked, 1,000 at once are the most: filter them" in session.lines[-1]
