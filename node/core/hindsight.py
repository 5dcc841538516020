"""Why there, why not elsewhere, of a past placement or moment: judged as explain judges now, on what stood then."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from cortex.v1.cluster_pb2 import NodeVerdict
from cortex.v1.types_pb2 import Node, Resources, Setting, Task
from node.core import settings
from node.core.explain import why
from node.core.model import ON_NODE, QUEUED
from node.core.scheduler import Limits
from node.core.state import ClusterState


@dataclass(frozen=True, slots=True)
class Scene:
    """What stood at a moment: nodes, the tasks on them, and what the leader knew of the nodes."""

    index: int
    nodes: Sequence[Node]
    tasks: Sequence[Task]
    profile: str = settings.RESOURCES
    weights: str = ""  # as a placement tells them; empty = those of the profile
    samples: Mapping[str, Resources] = field(default_factory=dict)
    prefetch: Mapping[str, int] = field(default_factory=dict)
    unreachable: frozenset[str] = frozenset()

    @property
    def unsampled(self) -> frozenset[str]:
        """Nodes of which it is not known any more what they measured."""
        return frozenset(node.id for node in self.nodes if node.id not in self.samples)


def judge(scene: Scene, task: Task, now_us: int = 0) -> list[NodeVerdict]:
    """A verdict for each node, by id: could the task have been placed there, were it queued?"""
    wanting = Task()
    wanting.CopyFrom(task)
    wanting.state = QUEUED
    state = ClusterState()
    policy = [
        Setting(name=settings.PROFILE, value=scene.profile),
        Setting(name=settings.WEIGHTS, value=scene.weights),
    ]
    others = [row for row in scene.tasks if row.id != task.id and row.state in ON_NODE]
    state.load([*scene.nodes, *others, *policy], scene.index, 0, now_us, 0)
    reachable = frozenset(node.id for node in scene.nodes if node.id not in scene.unreachable)
    limits = Limits(prefetch=scene.prefetch, reachable=reachable)
    verdicts = why(state, scene.samples, wanting, limits, now_us, scene.unsampled)
    for verdict in verdicts:
        if verdict.node in scene.unsampled and scene.profile == settings.RESOURCES:
            verdict.score = 0.0  # it is not known
            verdict.ClearField("terms")
    return verdicts


def judge_placement(scene: Scene, task: Task) -> list[NodeVerdict]:
    """As judge(), of the task's own placement: where it went it could go, with the score that it had."""
    chosen = task.placement
    then = Task()
    then.CopyFrom(task)
    # It was not kept away from there yet: that came with its failure there.
    then.unstartable_nodes[:] = [node_id for node_id in task.unstartable_nodes if node_id != chosen.node]
    verdicts = judge(scene, then)
    for verdict in verdicts:
        if verdict.node == chosen.node:
            verdict.CopyFrom(placed(task))
    return verdicts if any(verdict.node == chosen.node for verdict in verdicts) else [placed(task), *verdicts]


def placed(task: Task) -> NodeVerdict:
    """What the placement itself tells of its node."""
    chosen = task.placement
    return NodeVerdict(node=chosen.node, eligible=True, score=chosen.score, terms=chosen.terms)


def before(tasks: Iterable[Task], task: Task, order: Sequence[str]) -> list[Task]:
    """Of the tasks on nodes after the entry that placed `task` those that were there when it was placed: of its own
    entry, whose placements `order` lists, the ones before it."""
    earlier = set(order[: order.index(task.id)]) if task.id in order else set()
    return [row for row in tasks if row.fence != task.fence or row.id in earlier]
