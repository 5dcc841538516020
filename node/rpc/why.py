"""Why a task is or was placed where it is, and not elsewhere: now, at its last placement, or at a past moment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from cortex.v1 import cluster_pb2 as pb
from cortex.v1.types_pb2 import EventType, Node, Task
from node.core import settings
from node.core.faults import Code, Fault
from node.core.hindsight import Scene, before, judge, judge_placement, placed
from node.core.model import LIVE, ON_NODE
from node.link import Caller
from node.rpc.calls import Calls, Handlers
from node.store.asof import At, Moment
from node.store.events import EventQuery
from node.store.queries import TaskQuery
from node.store.slow import SlowReads

_PAGE = 1_000
# Tasks on nodes that a past view counts.
_TASKS_LIMIT = 20_000


class _Past(NamedTuple):
    """What is read of a moment."""

    nodes: list[Node]
    tasks: list[Task]
    order: list[str]  # tasks that the moment's own entry placed, in its order
    at: At


class WhyCalls(Calls):
    """Every method raises Fault. What has passed is read and judged off the event loop."""

    def handlers(self) -> Handlers:
        return {"Why": self.why}

    async def why(self, request: pb.WhyRequest, caller: Caller) -> pb.WhyReply:
        """The leader answers: it alone has samples, and a record of them."""
        await self._fresh(request.freshness)
        if not self._replica.serving:
            return await self._ask_leader("Why", request, pb.WhyReply, caller)
        task = self._lookup.task(request.id)
        moment = await self._moment(request.at)
        if moment is not None:
            return await self._at(task.id, moment)
        if task.fence and (task.state in ON_NODE or task.state not in LIVE):
            return await self._placement(task)
        note = "" if task.state in LIVE else "It was never placed; this is how it would be judged now."
        verdicts = self._parts.leadership.why(task)
        return pb.WhyReply(task=task, nodes=verdicts, index=self._state.index, note=note, age_us=self._age_us())

    async def _placement(self, task: Task) -> pb.WhyReply:
        """As its last placement was judged."""
        try:
            moment = await self._moment(pb.Moment(index=task.fence))
            assert moment is not None
            past = await self._replica.read(lambda reads: _past(reads, moment, task.assigned_at_us))
        except Fault as fault:
            if fault.code != Code.GONE:
                raise
            note = "What stood then is not kept any more: only the placement itself is known."
            return self._of_past(task, [placed(task)], task.fence, task.assigned_at_us, note)
        others = before(past.tasks, task, past.order)
        placement = task.placement
        scene = self._scene(past, others, task.assigned_at_us, placement.profile, placement.weights)
        verdicts = await self._replica.read(lambda _: judge_placement(scene, task))
        return self._of_past(task, verdicts, task.fence, task.assigned_at_us, _note(scene, past))

    def _of_past(self, task: Task, nodes: list[pb.NodeVerdict], index: int, at_us: int, note: str) -> pb.WhyReply:
        age_us = max(0, self._replica.now_us() - at_us)
        return pb.WhyReply(task=task, nodes=nodes, index=index, past=True, note=note, age_us=age_us)

    async def _at(self, task_id: str, moment: Moment) -> pb.WhyReply:
        """As it would have been judged then."""
        task, _, at = await self._replica.read(lambda reads: reads.task_at(task_id, moment))
        if task is None:
            message = f"Task {task_id} was not there at index {at.index}."
            raise Fault(Code.NOT_FOUND, message, f"Look at its events with `cortex events --task {task_id}`.")
        exact = Moment(at.index, 0, moment.now_us)
        past = await self._replica.read(lambda reads: _past(reads, exact, 0))
        rows, _ = await self._replica.read(lambda reads: reads.settings_at(exact))
        profile = settings.choice(rows.get(settings.PROFILE), settings.PROFILE)
        weights = settings.weights_of(rows.get(settings.WEIGHTS)).text
        scene = self._scene(past, past.tasks, at.at_us, profile, weights)
        verdicts = await self._replica.read(lambda _: judge(scene, task, at.at_us))
        return self._of_past(task, verdicts, at.index, at.at_us, _note(scene, past))

    def _scene(self, past: _Past, tasks: Sequence[Task], at_us: int, profile: str, weights: str) -> Scene:
        then = self._parts.leadership.samples_at(at_us)
        return Scene(
            index=past.at.index,
            nodes=past.nodes,
            tasks=tasks,
            profile=profile or settings.RESOURCES,
            weights=weights,
            samples={node_id: one.resources for node_id, one in then.items() if one.resources is not None},
            prefetch={node_id: one.prefetch for node_id, one in then.items()},
            unreachable=frozenset(node_id for node_id, one in then.items() if not one.reachable),
        )


def _past(reads: SlowReads, moment: Moment, entry_us: int) -> _Past:
    """Nodes and the tasks on them after `moment`; with the time of its entry also what that placed, in order."""
    nodes, _, at = reads.nodes_at(moment)
    tasks: list[Task] = []
    query = TaskQuery(states=tuple(sorted(ON_NODE)), limit=_PAGE)
    while len(tasks) < _TASKS_LIMIT:
        page, _ = reads.list_tasks_at(query, moment)
        tasks += page.tasks
        if not page.next_cursor:
            break
        query = TaskQuery(states=query.states, limit=_PAGE, cursor=page.next_cursor)
    order: list[str] = []
    if entry_us:
        wanted = EventQuery(since_us=entry_us, through_index=moment.index, limit=_PAGE)
        events = reads.list_events(wanted).events
        own = [event for event in events if event.index == moment.index]
        order = [event.task for event in own if event.type == EventType.EVENT_TYPE_ASSIGNED]
    return _Past(nodes, tasks, order, at)


def _note(scene: Scene, past: _Past) -> str:
    parts = []
    # One that was away or removed measured nothing, and that is what its verdict says.
    there = [node.id for node in scene.nodes if node.online]
    missing = sorted(scene.unsampled.intersection(there))
    if missing:
        whose = "the nodes" if len(missing) == len(there) else ", ".join(missing[:5])
        whose += " and others" if len(missing) > 5 and whose != "the nodes" else ""
        parts.append(
            f"What {whose} measured then is not kept by this leader: memory, disk, games and scores are not judged."
        )
    if len(past.tasks) >= _TASKS_LIMIT:
        parts.append(f"Of the tasks on nodes only {_TASKS_LIMIT} are counted.")
    return " ".join(parts)
