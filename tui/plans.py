"""What an action would do, as a plan that can be shown, judged again and carried out. Pure.

A plan names exact objects. When it is confirmed it is made anew from what is known by then: it goes ahead if the
new one harms nothing that the shown one did not, else it is shown again.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cortex.v1 import cluster_pb2, types_pb2
from tui.columns.base import Draw
from tui.columns.tasks import run_us
from tui.draw import Cell, Span, age, command_of, count_of, foreign, node_state, task_state
from tui.format import duration
from tui.source import Mutator
from tui.text import clean, fit
from tui.view import ENDED

TYPED_COUNT_ABOVE = 10
"""More objects than this are confirmed by typing their number."""
MAX_SHOWN_IDS = 4

Task = types_pb2.Task


@dataclass(frozen=True)
class Plan:
    """One action on exact objects."""

    verb: str
    title: str
    objects: tuple[Cell, ...]
    """One line each."""
    consequences: tuple[Cell, ...]
    left_out: tuple[Cell, ...]
    """Chosen objects that it will not touch, and why."""
    command: str
    """The same on the command line."""
    harm: frozenset[str]
    """What is lost or interrupted; a later plan must not exceed it."""
    ids: tuple[str, ...]
    request: cluster_pb2.TaskRequest | None = None

    @property
    def typed_count(self) -> int:
        """The number that must be typed to confirm; 0 when one key is enough."""
        return len(self.objects) if len(self.objects) > TYPED_COUNT_ABOVE else 0

    def still_covers(self, now: Plan) -> bool:
        """Whether carrying out `now` does nothing beyond what this one showed."""
        return set(now.ids) <= set(self.ids) and now.harm <= self.harm

    async def carry_out(self, mutator: Mutator) -> str:
        """Do it; returns a sentence for the operator. Raises SourceError."""
        return await _CALLS[self.verb](mutator, self)


async def _cancel(mutator: Mutator, plan: Plan) -> str:
    reply = await mutator.cancel(plan.ids)
    return f"Cancel of {_tasks(len(plan.ids))} accepted at index {count_of(reply.index)}."


async def _retry(mutator: Mutator, plan: Plan) -> str:
    reply = await mutator.retry(plan.ids)
    return f"{_tasks(len(plan.ids)).capitalize()} queued again at index {count_of(reply.index)}."


async def _cordon(mutator: Mutator, plan: Plan) -> str:
    for node in plan.ids:
        await mutator.cordon(node)
    return f"Cordoned: {', '.join(plan.ids)}."


async def _uncordon(mutator: Mutator, plan: Plan) -> str:
    for node in plan.ids:
        await mutator.uncordon(node)
    return f"Open for tasks again: {', '.join(plan.ids)}."


async def _submit(mutator: Mutator, plan: Plan) -> str:
    assert plan.request is not None
    reply = await mutator.submit(plan.request)
    known = " It was known already." if reply.deduplicated else ""
    return f"Submitted as {reply.id} at index {count_of(reply.index)}.{known}"


_CALLS = {"cancel": _cancel, "retry": _retry, "cordon": _cordon, "uncordon": _uncordon, "submit": _submit}


def _tasks(count: int) -> str:
    return "1 task" if count == 1 else f"{count_of(count)} tasks"


def _nodes(count: int) -> str:
    return "1 node" if count == 1 else f"{count_of(count)} nodes"


def _line(role: str, *parts: str) -> Cell:
    return tuple((part, role) for part in parts)


def _command(verb: str, ids: Sequence[str]) -> str:
    shown = [clean(part) for part in ids]
    if len(shown) > MAX_SHOWN_IDS + 1:
        rest = len(shown) - MAX_SHOWN_IDS
        return f"cortex {verb} {' '.join(shown[:MAX_SHOWN_IDS])} and {rest} more"
    return f"cortex {verb} {' '.join(shown)}"


def _task_line(task: Task, draw: Draw) -> Cell:
    glyphs = draw.glyphs
    state = task_state(task, glyphs)
    spans: list[Span] = [(fit(text, 14), role) for text, role in state]
    spans += [*foreign(task.name or "task", "strong", glyphs), ("  ", "text")]
    spans += [*foreign(task.id, "dim", glyphs)]
    if task.node and task.state not in ENDED:
        spans += [("  on ", "dim"), *foreign(task.node, "text", glyphs)]
    ran = run_us(task, draw.now_us)
    if ran is not None and task.state == types_pb2.TASK_STATE_RUNNING:
        spans += [("  for ", "dim"), (age(ran), "text")]
    return tuple(spans)


def _missing(key: str, draw: Draw) -> Cell:
    return (*foreign(key, "dim", draw.glyphs), ("  is no longer known", "dim"))


def _split(draw: Draw, ids: Sequence[str], refusal: Callable[[Task], str]) -> tuple[list[Task], list[Cell]]:
    """Tasks that the action concerns, and a line for each that it does not."""
    taken: list[Task] = []
    left: list[Cell] = []
    for key in ids:
        task = draw.view.tasks.get(key)
        if task is None:
            left.append(_missing(key, draw))
        elif why := refusal(task):
            left.append((*_task_line(task, draw), (f"  {why}", "warn")))
        else:
            taken.append(task)
    return taken, left


def cancel(draw: Draw, ids: Sequence[str]) -> Plan:
    def refusal(task: Task) -> str:
        if task.state in ENDED:
            return "has ended"
        return "is being cancelled" if task.cancel_requested else ""

    taken, left = _split(draw, ids, refusal)
    running = [task for task in taken if task.state == types_pb2.TASK_STATE_RUNNING]
    consequences: list[Cell] = []
    if running:
        kill_us = max(task.spec.kill_timeout_ms for task in running) * 1000
        lost_us = sum(run_us(task, draw.now_us) or 0 for task in running)
        grace = f" within {duration(kill_us)}" if kill_us else ""
        consequences.append(
            _line(
                "warn",
                f"{_tasks(len(running))} running: TERM now, KILL{grace}; {age(lost_us)} of work is lost.",
            )
        )
    if waiting := len(taken) - len(running):
        consequences.append(_line("text", f"{_tasks(waiting)} not started: will never run."))
    consequences.append(_line("dim", "A cancel cannot be undone; the same command can be submitted again."))
    chosen = tuple(task.id for task in taken)
    return Plan(
        "cancel",
        f"Cancel {_tasks(len(taken))}",
        tuple(_task_line(task, draw) for task in taken),
        tuple(consequences),
        tuple(left),
        _command("cancel", chosen),
        frozenset(f"{task.id} {'runs' if task in running else 'waits'}" for task in taken)
        # A task that has not started yet may be stopped at no cost, so that much is always covered.
        | frozenset(f"{task.id} waits" for task in taken),
        chosen,
    )


def retry(draw: Draw, ids: Sequence[str]) -> Plan:
    revivable = (types_pb2.TASK_STATE_DEAD_LETTER, types_pb2.TASK_STATE_FAILED)

    def refusal(task: Task) -> str:
        if task.state in revivable or task.lost_at_us:
            return ""
        return "ended well" if task.state == types_pb2.TASK_STATE_COMPLETED else "is not failed or dead-lettered"

    taken, left = _split(draw, ids, refusal)
    consequences = [_line("text", "Queued again with all their retries, as a new run of the same task.")]
    lost = [task for task in taken if task.lost_at_us]
    if lost:
        consequences.append(
            _line(
                "warn",
                f"{_tasks(len(lost))} on a lost machine: the command may still run there and then run twice.",
            )
        )
    prints = {task.fingerprint for task in taken if task.fingerprint}
    if len(taken) > 1 and prints:
        causes = "1 cause" if len(prints) == 1 else f"{len(prints)} causes"
        consequences.append(_line("dim", f"They failed of {causes}; if it is still there they will fail again."))
    consequences.append(_line("dim", "A retry can be cancelled while it waits or runs."))
    chosen = tuple(task.id for task in taken)
    return Plan(
        "retry",
        f"Retry {_tasks(len(taken))}",
        tuple(_task_line(task, draw) for task in taken),
        tuple(consequences),
        tuple(left),
        _command("retry", chosen),
        frozenset(chosen) | frozenset(f"{task.id} lost" for task in lost),
        chosen,
    )


def cordon(draw: Draw, ids: Sequence[str]) -> Plan:
    taken: list[str] = []
    objects: list[Cell] = []
    left: list[Cell] = []
    harm: set[str] = set()
    running = 0
    for key in ids:
        row = draw.view.nodes.get(key)
        if row is None:
            left.append(_missing(key, draw))
            continue
        head = (*((fit(text, 12), role) for text, role in node_state(row.node, draw.glyphs)),)
        line: Cell = (*head, *foreign(key, "strong", draw.glyphs))
        if row.node.state != types_pb2.NODE_STATE_ACTIVE:
            left.append((*line, ("  is not active", "warn")))
            continue
        busy = row.view.running if row.view is not None else 0
        waiting = row.view.assigned if row.view is not None else 0
        running += busy
        taken.append(key)
        objects.append((*line, (f"  {busy} running, {waiting} assigned", "text")))
    others = [
        row.node.id
        for row in draw.view.nodes.values()
        if row.node.id not in taken and row.node.state == types_pb2.NODE_STATE_ACTIVE and row.node.online
    ]
    consequences = []
    if running:
        goes = "goes" if running == 1 else "go"
        consequences.append(
            _line("text", f"{_tasks(running)} running there {goes} on; those not started move elsewhere.")
        )
    if others:
        consequences.append(_line("text", f"New tasks go to {_nodes(len(others))} that stay open."))
    else:
        consequences.append(_line("bad", "No other node is open: every new task will wait."))
        harm.add("nothing left")
    consequences.append(_line("dim", "Voting goes on as before. Undone by C, uncordon."))
    return Plan(
        "cordon", f"Cordon {_nodes(len(taken))}", tuple(objects), tuple(consequences), tuple(left),
        _command("cordon", taken), frozenset(harm) | frozenset(taken), tuple(taken),
    )  # fmt: skip


def uncordon(draw: Draw, ids: Sequence[str]) -> Plan:
    closed = (types_pb2.NODE_STATE_CORDONED, types_pb2.NODE_STATE_DRAINING, types_pb2.NODE_STATE_DRAINED)
    taken: list[str] = []
    objects: list[Cell] = []
    left: list[Cell] = []
    for key in ids:
        row = draw.view.nodes.get(key)
        if row is None:
            left.append(_missing(key, draw))
            continue
        head = (*((fit(text, 12), role) for text, role in node_state(row.node, draw.glyphs)),)
        line: Cell = (*head, *foreign(key, "strong", draw.glyphs))
        if row.node.state in closed:
            taken.append(key)
            said = f"  {clean(row.node.message, ascii_only=draw.glyphs.ascii_only)}" if row.node.message else ""
            objects.append((*line, (said, "dim")))
        else:
            left.append((*line, ("  is open already", "warn")))
    queued = draw.view.states[types_pb2.TASK_STATE_QUEUED]
    consequences = [_line("text", f"Open for new tasks at once; {_tasks(queued)} queued now.")]
    consequences.append(_line("dim", "Undone by c, cordon."))
    return Plan(
        "uncordon", f"Uncordon {_nodes(len(taken))}", tuple(objects), tuple(consequences), tuple(left),
        _command("uncordon", taken), frozenset(taken), tuple(taken),
    )  # fmt: skip


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
            consequences.append(_line("dim", f"{_nodes(len(eligible))} of {len(verdicts)} are eligible."))
    elif verdicts:
        consequences.append(_line("warn", "No node is eligible now: it will wait in the queue."))
        consequences += [
            (("  ", "text"), *foreign(v.node, "text", glyphs), ("  ", "text"), *foreign(v.reason, "dim", glyphs))
            for v in verdicts[:5]
        ]
    consequences.append(_line("dim", "It can be cancelled while it waits or runs."))
    return Plan(
        "submit", "Submit 1 task", (head,), tuple(consequences), (), command, frozenset(), (), request,
    )  # fmt: skip


def submit_command(fields: dict[str, str]) -> str:
    """The command line that says the same as the form; `command` is run by `sh -c`."""
    words = ["cortex", "submit"]
    for name, value in fields.items():
        if name != "command" and value:
            words += [f"--{name.replace('_', '-')}", value]
    return shlex.join([*words, "--", "sh", "-c", fields.get("command", "")])
