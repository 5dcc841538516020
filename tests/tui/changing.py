"""A fake cluster in which anything may change, at random and yet the same in every run."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator

from cortex.v1 import cluster_pb2, types_pb2
from tests.tui import fake, fake_letters
from tests.tui.drain_kit import drained
from tests.tui.fake_dags import PENDING, SKIPPED
from tests.tui.fake_past import PastSource, with_past
from tests.tui.fake_source import Row
from tui.source import LinkState

STATES = [fake.QUEUED, fake.ASSIGNED, fake.RUNNING, fake.COMPLETED, fake.FAILED, fake.DEAD, fake.CANCELLED]
NAMES = [
    "alpha",
    "beta",
    "日本語の名前",
    "[bold]no[/bold]",
    "esc\x1b[31m",
    "x" * 40,
    "café",
    "e\u0301\u0302",
    "👩\u200d🔧",
]
COMMANDS = ["ls", "make -j8 all the things", "echo \u202e", "", "seq 1 9 | while read x; do echo 漢字 $x; done"]
NODES = ["anvil", "birch", "cedar", "dune", "elm", *(f"oak{number:02d}" for number in range(25))]
OPERATION_STATES = [
    types_pb2.OPERATION_STATE_SCHEDULED,
    types_pb2.OPERATION_STATE_RUNNING,
    types_pb2.OPERATION_STATE_DONE,
    types_pb2.OPERATION_STATE_STOPPED,
]
EVENTS = [
    types_pb2.EVENT_TYPE_SUBMITTED, types_pb2.EVENT_TYPE_STARTED, types_pb2.EVENT_TYPE_RETRIED,
    types_pb2.EVENT_TYPE_DEAD_LETTERED, types_pb2.EVENT_TYPE_NODE_CORDONED,
]  # fmt: skip


class ChangingSource(PastSource):
    """Each call of `change` is one random update, told to the stream as a daemon tells it."""

    def __init__(self, draw: random.Random) -> None:
        super().__init__()
        past, drain = with_past(), drained()
        self.recorded, self.differences, self.rehearsal = past.recorded, past.differences, drain.rehearsal
        self._draw = draw
        self.after_us = 0
        """Leader time that has passed."""
        self._offsets: dict[int, int] = {}
        self._followers: list[asyncio.Queue[cluster_pb2.OutputReply]] = []
        for row in [*fake_letters.letters(12, 4), *(self._task(number) for number in range(100, 140))]:
            self.tasks[row.id] = row
        self._said = [self._output() for _ in range(20)]

    def change(self) -> None:
        """One random update of one kind."""
        kinds = [self._change_task] * 6 + [self._change_member] * 3 + [self._change_node] * 4
        kinds += [self._change_event] * 2 + [self._change_operation, self._change_letter, self._delete, self._say]
        kinds += [self._link] * (self._draw.random() < 0.1) + [self._again] * (self._draw.random() < 0.1)
        self._draw.choice(kinds)()

    def tell(self, *rows: Row, samples: tuple[cluster_pb2.NodeView, ...] = ()) -> None:
        self.push(*rows, samples=samples, at_us=fake.NOW_US + self.after_us)

    def _task(self, number: int) -> types_pb2.Task:
        draw = self._draw
        state = draw.choice(STATES)
        ended = state in STATES[3:]
        return fake.task(
            number,
            draw.choice(NAMES),
            state,
            draw.choice(COMMANDS),
            node=draw.choice(["", *NODES[:5]]),
            priority=draw.randrange(11),
            attempt=draw.randrange(4),
            created_s=draw.randrange(500, 9000),
            started_s=draw.randrange(60, 500) if state != fake.QUEUED else 0,
            ended_s=draw.randrange(1, 50) if ended else 0,
            exit_code=draw.randrange(3) if ended else None,
            error=draw.choice(["", "exit 1: 3 errors found", "日本語 " * 20]) if ended else "",
            index=self.index + 1,
            reason=draw.choice(["", "no node has a GPU free", "[@click=app.quit]z[/]"]),
        )

    def _change_task(self) -> None:
        self.tell(self._task(self._draw.choice([*range(1, 9), *range(100, 160)])))

    def _change_letter(self) -> None:
        row = fake_letters.letter(self._draw.randrange(1, 60), self._draw.randrange(5))
        row.modified_index = self.index + 1
        self.tell(row)

    def _change_member(self) -> None:
        draw = self._draw
        reply = self.workflows[draw.choice(sorted(self.workflows))]
        row = draw.choice(reply.status.tasks)
        state = draw.choice([*STATES, PENDING, SKIPPED])
        row.state, row.modified_index = state, self.index + 1
        row.node = draw.choice(["", *NODES[:5]])
        row.attempt = draw.randrange(4)
        row.completed_at_us = fake.NOW_US - 5 * fake.SECOND_US if state in (*STATES[3:], SKIPPED) else 0
        workflow = reply.status.workflow
        workflow.remaining, workflow.failures = draw.randrange(len(reply.status.tasks)), draw.randrange(3)
        workflow.state = draw.choice([1, 2, 3, 4, 5])
        workflow.modified_index = self.index + 1
        sent, flow = types_pb2.Task(), types_pb2.Workflow()
        sent.CopyFrom(row)
        flow.CopyFrom(workflow)
        self.tell(sent, flow)

    def _change_node(self) -> None:
        draw = self._draw
        online = draw.random() < 0.8
        view = fake.node_view(
            draw.choice(NODES),
            cpu=draw.random() * 100,
            memory=draw.random() * 100,
            disk=draw.random() * 100,
            network=draw.random() * 50,
            running=draw.randrange(9),
            assigned=draw.randrange(3),
            gpus=[draw.random() * 100] * draw.randrange(3),
            state=draw.choice([1, 2, 3, 4]),
            role=draw.choice([1, 2]),
            online=online,
            sampled=online and draw.random() < 0.9,
            index=self.index + 1,
        )
        self.nodes[view.node.id] = view
        self.tell(view.node, samples=(view,))

    def _change_event(self) -> None:
        index = self.index + 1
        row = fake.event(
            index,
            self._draw.choice(EVENTS),
            task_id=self._draw.choice(["", "01jx00000001", "01jx00000009"]),
            node=self._draw.choice(["", "anvil", "birch"]),
            detail=self._draw.choice(["", "exit 7, retried in 1.4 s", "日本語の名前", "x" * 90]),
            actor=self._draw.choice(["", "uid:1000"]),
        )
        self.events.append(row)
        self.tell(row)

    def _change_operation(self) -> None:
        draw = self._draw
        row = fake.operation(
            draw.randrange(1, 20),
            types_pb2.OPERATION_KIND_RETRY,
            draw.choice(OPERATION_STATES),
            cause="a1b2c3d4e5f60718",
            canary=draw.random() < 0.5,
            before_s=draw.randrange(900),
            total=120,
            issued=draw.randrange(120),
            failed=draw.randrange(5),
        )
        row.modified_index = self.index + 1
        self.tell(row)

    def _delete(self) -> None:
        key = f"01jx{self._draw.randrange(100, 160):08d}"
        self.tasks.pop(key, None)
        self.index += 1
        gone = types_pb2.Change(deleted_table="tasks", deleted_key=key)
        self.put(
            cluster_pb2.WatchReply(
                index=self.index, at_us=fake.NOW_US + self.after_us, changes=[gone], leader="anvil", term=4
            )
        )

    def _link(self) -> None:
        self.put(LinkState(up=False, address="anvil", detail="The connection was refused."))
        self.put(LinkState(up=True, address="birch"))

    def _again(self) -> None:
        """Another daemon answers, and begins with all rows."""
        for reply in self.snapshot():
            reply.at_us = fake.NOW_US + self.after_us
            self.put(reply)

    def _output(self) -> cluster_pb2.OutputReply:
        text = self._draw.choice(["one line", "漢字 " * 40, "\x1b[1mbold\x1b[0m", "x" * 300, "50 %\r60 %", ""])
        kind = self._draw.choice([cluster_pb2.STREAM_KIND_STDOUT, cluster_pb2.STREAM_KIND_STDERR])
        data = text.encode() + b"\n"
        offset = self._offsets.get(kind, 0)
        self._offsets[kind] = offset + len(data)
        return cluster_pb2.OutputReply(stream=kind, offset=offset, data=data)

    def _say(self) -> None:
        """Every task that has output prints a line."""
        reply = self._output()
        self._said.append(reply)
        for follower in self._followers:
            follower.put_nowait(reply)

    async def output(self, request: cluster_pb2.OutputRequest) -> AsyncIterator[cluster_pb2.OutputReply]:
        follower: asyncio.Queue[cluster_pb2.OutputReply] = asyncio.Queue()
        self._followers.append(follower)
        try:
            for reply in list(self._said):
                yield reply
            while request.follow:
                yield await follower.get()
        finally:
            self._followers.remove(follower)
