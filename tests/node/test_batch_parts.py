"""A batch as the service splits it: its parts through the real state machine, with whatever goes wrong between."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from cortex.v1 import types_pb2
from cortex.v1.cluster_pb2 import TaskRequest
from cortex.v1.log_pb2 import BatchPart, Command, Reply, SettingsChange
from node.core.faults import Code, Fault
from node.rpc import batch
from tests.core.cluster import Machine, cluster


def requests(count: int, keys: int = 0, size: int = 1) -> list[TaskRequest]:
    """That many tasks, the first `keys` of them with a submit key."""
    return [
        TaskRequest(
            name=f"t{number}",
            submit_key=f"key{number}" if number < keys else "",
            spec=types_pb2.TaskSpec(argv=[b"true", b"x" * size]),
        )
        for number in range(count)
    ]


class Cluster:
    """Applies what is proposed; `lost` replies from a part on are applied and then never answered."""

    def __init__(self, m: Machine | None = None) -> None:
        self.m = m or cluster()
        self.parts: list[tuple[str, int, BatchPart | None]] = []
        self.fails_at: int | None = None

    async def execute(self, commands: Sequence[Command], request_id: str, part: BatchPart | None) -> Reply:
        self.parts.append((request_id, len(commands), part))
        assert sum(map(Command.ByteSize, commands)) + (part.ByteSize() if part else 0) < 4 << 20
        reply = self.m.apply(*commands, client="ann", request_id=request_id, batch=part)
        if self.fails_at == len(self.parts):
            raise Fault(Code.OUTCOME_UNKNOWN, "Unknown.", "Again.")
        return reply

    async def submit(self, tasks: Sequence[TaskRequest], request_id: str = "r") -> list[str]:
        answers, _ = await batch.submit(await batch.checked(tasks, self.m.new_id), request_id, self.execute)
        return [answer.id for answer in answers]


async def test_a_small_batch_is_one_entry() -> None:
    on = Cluster()
    ids = await on.submit(requests(batch.PART_TASKS, keys=3))
    assert on.parts == [("r/0", batch.PART_TASKS, None)]
    assert list(on.m.state.tasks) == ids


async def test_a_large_batch_becomes_parts_in_order() -> None:
    on = Cluster()
    count = 2 * batch.PART_TASKS + 10
    ids = await on.submit(requests(count))
    assert [(name, size) for name, size, _ in on.parts] == [("r/0", 1000), ("r/1", 1000), ("r/2", 10)]
    assert [part.first for _, _, part in on.parts if part] == [0, 1000, 2000]
    assert [on.m.state.tasks[task_id].name for task_id in ids] == [f"t{number}" for number in range(count)]
    assert not on.m.state.batches


async def test_no_part_is_larger_than_a_mebibyte() -> None:
    on = Cluster()
    await on.submit(requests(50, size=100_000))
    assert [size for _, size, _ in on.parts] == [10] * 5


@pytest.mark.parametrize("fails_at", [1, 2, 3])
async def test_a_repeat_goes_on_where_it_stopped(fails_at: int) -> None:
    on = Cluster()
    on.fails_at = fails_at
    tasks = requests(2 * batch.PART_TASKS + 10, keys=50)
    with pytest.raises(Fault):
        await on.submit(tasks)
    ids = await on.submit(tasks)
    assert on.m.state.live_count() == len(set(ids)) == len(tasks)
    assert await on.submit(tasks) == ids
    assert not on.m.state.batches


async def test_a_repeat_by_a_release_that_splits_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    on = Cluster()
    on.fails_at = 2
    tasks = requests(5000, keys=50)
    with pytest.raises(Fault):
        await on.submit(tasks)
    monkeypatch.setattr(batch, "PART_TASKS", 700)
    ids = await on.submit(tasks)
    assert [on.m.state.tasks[task_id].name for task_id in ids] == [task.name for task in tasks]
    assert on.m.state.live_count() == 5000
    assert [size for _, size, _ in on.parts[2:]] == [700] * 6 + [200]


async def test_all_or_none() -> None:
    on = Cluster()
    depth = SettingsChange(name="max_queue_depth", value="4999")
    assert on.m.one(Command(settings_change=depth)).accepted
    with pytest.raises(Fault, match="5000 more would pass max_queue_depth") as caught:
        await on.submit(requests(5000))
    assert caught.value.code == Code.QUEUE_FULL
    tasks = requests(4999)
    tasks[4321].priority = 99
    with pytest.raises(Fault, match=r"Nothing was submitted\. Line 4322: priority is 99"):
        await on.submit(tasks)
    assert on.m.state.live_count() == 0
    tasks[4321].priority = 3
    await on.submit(tasks)
    assert on.m.state.live_count() == 4999


@pytest.mark.parametrize("count", [3, 5000])
async def test_a_key_that_stands_for_something_else_is_named_by_its_line(count: int) -> None:
    on = Cluster()
    other = on.m.submit((b"false",), key="key1")
    with pytest.raises(Fault, match=f"Line 2: Submit key key1 stands for task {other} with another spec") as caught:
        await on.submit(requests(count, keys=2))
    assert caught.value.code == Code.ALREADY_EXISTS
    assert caught.value.message.startswith("Nothing of the batch was accepted. ")
    assert "name false -> t1" in caught.value.message


async def test_a_key_far_down_is_named_too() -> None:
    on = Cluster()
    on.m.submit((b"false",), key="key4998")
    with pytest.raises(Fault, match="Line 4999: Submit key key4998 stands for task"):
        await on.submit(requests(5000, keys=5000))
    assert on.m.state.live_count() == 1


async def test_25_000_keys_travel_with_the_first_part() -> None:
    on = Cluster()
    await on.submit(requests(25_000, keys=25_000))
    assert on.m.state.live_count() == 25_000
    assert on.parts[0][1] == 1
    part = on.parts[0][2]
    assert part is not None
    assert len(part.keys) == 25_000


async def test_keys_that_are_too_long_together_are_refused() -> None:
    on = Cluster()
    tasks = requests(30_000, keys=30_000)
    for task in tasks:
        task.submit_key = task.submit_key.ljust(100, "-")
    with pytest.raises(Fault, match="submit keys of the batch take") as caught:
        await on.submit(tasks)
    assert caught.value.code == Code.TOO_LARGE
    assert not on.parts


@pytest.mark.parametrize("count", [0, 100_001])
async def test_a_batch_of_no_size_is_refused(count: int) -> None:
    with pytest.raises(Fault):
        await Cluster().submit([TaskRequest()] * count)


async def test_what_was_given_up_says_how_much_came() -> None:
    on = Cluster()
    on.fails_at = 2
    tasks = requests(5000)
    with pytest.raises(Fault):
        await on.submit(tasks)
    on.m.now_us += 3600 * 1_000_000
    with pytest.raises(
        Fault, match="the first 2000 of its 5000 tasks were accepted, the others were not"
    ) as caught:
        await on.submit(tasks)
    assert (caught.value.code, caught.value.remedy) == (Code.WRONG_STATE, "Submit the other lines as a new batch.")
