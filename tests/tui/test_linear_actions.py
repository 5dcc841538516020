"""What can be changed line by line: said first, done only in its words."""

from __future__ import annotations

from cortex.v1 import cluster_pb2, types_pb2
from tests.tui.drain_kit import drained
from tests.tui.fake_letters import fingerprint, letters
from tests.tui.fake_source import FakeSource
from tests.tui.test_linear import Talk, until
from tui.source import SourceError


def with_letters() -> FakeSource:
    return FakeSource(tasks=letters(15, 5))


async def test_a_drain_is_rehearsed_in_lines_and_carried_out_by_its_plan() -> None:
    async with Talk(drained()) as talk:
        await talk.say("nodes anvil", "1: anvil")
        said = await talk.say("drain 1 deadline=30m parallel=2", "To do it")
        text = "\n".join(said)
        for part in ("lands on cedar", "waits for room", "becomes a dead letter at the deadline", "2 at once",
                     "3 of 3 voters are up", "about 12s, 30m at most", "Nothing was changed"):  # fmt: skip
            assert part in text, part
        assert talk.source.rehearsals == [
            cluster_pb2.DrainRequest(node="anvil", deadline_ms=1_800_000, max_parallel=2)
        ]
        await talk.say("yes", "Nothing was done")
        assert talk.source.mutators == 0
        await talk.say("drain 1", "To do it, type: drain 3")
        await talk.say("drain 3", "Operation op-1")
        assert talk.source.calls == [("drain_node", cluster_pb2.DrainRequest(node="anvil", plan_id="plan-2"))]


async def test_a_plan_that_broke_is_rehearsed_again_and_asked_for_again() -> None:
    async with Talk(drained()) as talk:
        await talk.say("nodes anvil", "1: anvil")
        await talk.say("drain 1", "drain 3")
        talk.source.refuse_plan = SourceError("The plan does not hold any more.", "Rehearse again.", "wrong_state")
        del talk.source.rehearsal.moves[0]
        said = await talk.say("drain 3", "To do it, type: drain 2")
        assert "The plan does not hold any more." in said
        assert any("is on the node no more" in line for line in said)
        assert talk.source.calls == []
        await talk.say("drain 2", "Operation op-1")
        assert talk.source.calls[0][1] == cluster_pb2.DrainRequest(node="anvil", plan_id="plan-2")


async def test_a_drain_that_is_blocked_says_what_forces_it() -> None:
    async with Talk(drained(up_without=1)) as talk:
        await talk.say("nodes anvil", "1: anvil")
        await talk.say("drain 1", "bring one up first, or add the word force.")
        await talk.say("drain 1 force", "To do it")
        assert talk.source.rehearsals[-1].force
        await talk.say("", "Nothing was done")
        await talk.say("drain 1 sideways", "no option sideways")
        await talk.say("drain 1 deadline=soon", "soon")
        assert talk.source.mutators == 0


async def test_what_has_not_begun_is_taken_back() -> None:
    async with Talk(with_letters()) as talk:
        await talk.say("undo", "Nothing to undo")
        await talk.say("letters", "1: ")
        await talk.say("discard 1", "Why, for those who look later?")
        await talk.say("", "Nothing was done")
        await talk.say("discard 1", "Why")
        said = await talk.say("known for long", "To do it, type: discard 1")
        assert any("known for long" in line for line in said)
        assert any("until then undo undoes it" in line for line in said)
        await talk.say("discard 1", "begins in 10 s. Operation op-1")
        await until(lambda: bool(talk.linear.view.operations.get("op-1")))
        await talk.say("undo", "To do it, type: undo 1")
        await talk.say("undo 1 wrong one", "Undone: discard of 1 task")
        assert [call[0] for call in talk.source.calls] == ["discard", "undo_operation"]


async def test_causes_are_retried_with_a_canary() -> None:
    async with Talk(with_letters()) as talk:
        said = await talk.say("causes", "5: ")
        assert any("connection refused" in line for line in said)
        await talk.say("canary 1", "To do it, type: retry 1")
        await talk.say("retry 1", "Canary of 1 cause begins")
        (call,) = talk.source.calls
        assert call[0] == "canary"
        assert call[1] in {fingerprint(number) for number in range(5)}
        said = await talk.say("retry 2", "To do it, type: retry 3")
        assert sum("job-" in line for line in said) == 3, "its letters are read out"
        await talk.say("no", "Nothing was done")
        await talk.say("cancel 1", "for lines of queue or workflows")


async def test_a_task_is_submitted() -> None:
    async with Talk() as talk:
        await talk.say("submit", "Say what is run")
        await talk.say("submit priority=99 -- true", "Nothing was submitted")
        said = await talk.say("submit name=hello on=birch -- echo  'a  b' -- c", "To do it, type: submit 1")
        assert any("Would go to birch" in line for line in said)
        await talk.say("submit 1", "Submitted as 01jx00000099")
        ((verb, request),) = talk.source.calls
        assert verb == "submit"
        assert isinstance(request, cluster_pb2.TaskRequest)
        assert request.spec.shell_command == b"echo  'a  b' -- c"
        assert (request.name, request.spec.constraints.target_node) == ("hello", "birch")


async def test_a_refusal_is_said_and_the_conversation_goes_on() -> None:
    async with Talk() as talk:
        talk.source.refuse = SourceError("Nobody leads.", "Wait for a leader.", "no_leader")
        await talk.say("nodes", "1: ")
        await talk.say("cordon 1", "To do it, type: cordon 1")
        await talk.say("cordon 1", "Nobody leads. Wait for a leader.")
        await talk.say("queue", "1: ")


async def test_how_an_operation_ended_is_said_unasked() -> None:
    async with Talk(with_letters()) as talk:
        await talk.say("causes", "5: ")
        await talk.say("canary 1", "type: retry 1")
        await talk.say("retry 1", "begins in 10 s")
        row = types_pb2.Operation()
        row.CopyFrom(talk.source.operations["op-1"])
        row.state, row.outcome = types_pb2.OPERATION_STATE_STOPPED, "failed the same way again"
        row.begun_at_us, row.modified_index = row.created_at_us + 1, row.modified_index + 1
        talk.source.push(row)
        await until(lambda: talk.linear.view.operations.get("op-1") == row)
        talk.linear.tell_news()
        assert "failed the same way again" in talk.said[-1]
