"""Why here, why not there: per node, by the same filters as a pass, and the smallest change that would flip it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final

from cortex.v1.cluster_pb2 import NodeVerdict
from cortex.v1.types_pb2 import Resources, ScoreTerms, Task
from node.core.exclusion import Exclusions, why_excluded
from node.core.filters import Ask, CapabilityFilter, Filter, NodeInfo, ask_of, filters_of, node_info
from node.core.model import ENDED, ON_NODE, PENDING, QUEUED, member_id
from node.core.room import Obstacle, Room, Rooms
from node.core.scheduler import Limits, score
from node.core.state import ClusterState, NodeUse
from node.core.waiting import early

# Nodes that one proposal names.
_NAMED: Final = 3


def why(
    state: ClusterState,
    samples: Mapping[str, Resources],
    task: Task,
    limits: Limits | None = None,
    now_us: int = 0,
    unsampled: Collection[str] = (),
) -> list[NodeVerdict]:
    """A verdict for each node, by id: could the task be placed there now, were it queued?

    `now_us` is leader time; with 0 a task that is not due yet is judged as if it were. What nodes in `unsampled`
    measured is not known: they are judged without it.
    """
    limits = limits or Limits()
    ask = ask_of(task.spec)
    everywhere = _shared_obstacles(state, task, now_us)
    rooms = Rooms(state, without=int(task.state in ON_NODE))
    verdicts: list[NodeVerdict] = []
    infos = [
        node_info(state.nodes[node_id], samples.get(node_id), rooms.weights) for node_id in sorted(state.nodes)
    ]
    excluded = _excluded(infos, ask, task)
    for info in infos:
        node_id = info.id
        room = rooms.make_with(info, _use_without(state, node_id, task), limits.prefetch_of(node_id))
        filters = filters_of(ask, live=node_id not in unsampled)
        obstacles = [*_node_obstacles(info, room, ask, task, limits, filters), *everywhere]
        if node_id in excluded:
            obstacles.insert(0, excluded[node_id])
        verdicts.append(_verdict(room, ask, task.priority, obstacles))
    return verdicts


def _excluded(infos: Sequence[NodeInfo], ask: Ask, task: Task) -> dict[str, Obstacle]:
    """The nodes that it is kept away from since it failed there."""
    exclusions = Exclusions(infos)
    found = exclusions.of(ask, task.unstartable_nodes)
    if not found:
        return {}
    others = exclusions.others(ask, found)
    names = f"{len(others)} other nodes" if len(others) > _NAMED else " and ".join(others)
    flip = f"cordon {names}: with no other node to ask it is tried on {{}} again"
    return {node_id: Obstacle(why_excluded(task, node_id), flip.format(node_id)) for node_id in found}


def _node_obstacles(
    info: NodeInfo, room: Room, ask: Ask, task: Task, limits: Limits, filters: Sequence[Filter]
) -> list[Obstacle]:
    found = [
        Obstacle(check.reason(info), check.flip(info))
        for check in filters
        if not check.passes(info) and not (isinstance(check, CapabilityFilter) and not check.missing(info))
    ]
    if info.online and limits.reachable is not None and info.id not in limits.reachable:
        found.append(Obstacle("not connected to the leader", f"reconnect {info.id}"))
    keeper = limits.kept.get(info.id, task.id)
    if keeper != task.id and ask.reserves():
        kept = f"kept for task {keeper}, which has waited longer for what it reserves"
        found.append(Obstacle(kept, f"wait until task {keeper} has begun"))
    return [*found, *room.obstacles(ask)]


def _shared_obstacles(state: ClusterState, task: Task, now_us: int) -> list[Obstacle]:
    """What keeps it waiting wherever it would go."""
    found: list[Obstacle] = []
    if task.state == PENDING:
        waits_for = [member_id(task.workflow_id, number) for number in task.depends_on]
        live = [one for one in waits_for if (row := state.tasks.get(one)) is not None and row.state not in ENDED]
        count = "1 task" if len(live) == 1 else f"{len(live)} tasks"
        reason = f"waits for {count} that it depends on" if live else "waits for its workflow's verdict"
        if not live and task.reason:
            reason = task.reason
        flip = f"wait until {live[0]} ends" if len(live) == 1 else "wait until they end" if live else "wait for it"
        found.append(Obstacle(reason, flip))
    if task.state == QUEUED and now_us and task.scheduled_after_us > now_us:
        seconds = (task.scheduled_after_us - now_us) / 1e6
        found.append(Obstacle(early(task, now_us), f"wait {seconds:.1f} s"))
    for lock in sorted(set(task.spec.locks)):
        holder = state.locks.get(lock)
        if holder is not None and holder != task.id:
            found.append(Obstacle(f"lock {lock} is held by task {holder}", f"wait until task {holder} ends"))
    limit = task.spec.limit_count
    if limit > 0:
        key = task.spec.limit_key
        held = state.limit_use.get(key, 0) - (task.state in ON_NODE)
        if held >= limit:
            ends = "one task of it ends" if held == limit else f"{held - limit + 1} tasks of it end"
            flip = f"wait until {ends}, or raise limit_count to {held + 1}"
            found.append(Obstacle(f"limit key {key} is used up ({held} of {limit})", flip))
    return found


def _use_without(state: ClusterState, node_id: str, task: Task) -> NodeUse | None:
    """What others hold on the node."""
    use = state.use.get(node_id)
    if use is not None and task.state in ON_NODE and task.node == node_id:
        use = use.copy()
        use.add(task.spec, -1)
    return use


def _verdict(room: Room, ask: Ask, priority: int, obstacles: list[Obstacle]) -> NodeVerdict:
    points, terms = (0.0, ScoreTerms()) if ask.target else score(room, ask, priority)
    return NodeVerdict(
        node=room.info.id,
        eligible=not obstacles,
        score=points,
        terms=terms,
        reason="; ".join(dict.fromkeys(obstacle.reason for obstacle in obstacles)),
        flip="; and ".join(dict.fromkeys(obstacle.flip for obstacle in obstacles)),
    )
