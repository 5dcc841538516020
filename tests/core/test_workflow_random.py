"""Random workflows and random commands against an independent model; and spilled rows make no difference."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from cortex.v1 import types_pb2
from cortex.v1.log_pb2 import Command, CommandReply, Entry, TaskComplete
from cortex.v1.types_pb2 import TaskResult
from node.core import rules
from node.core.machine import TASK_TABLE, WORKFLOW_STEPS
from node.core.model import ENDED, LIVE_WORKFLOW, recount
from node.core.state import ClusterState
from tests.core.cluster import Machine, assign, cancel, failed, retry
from tests.core.workflow_model import Model, Step
from tests.core.workflows import cancel as cancel_workflow
from tests.core.workflows import member, resume, row, state, states, step, submit, verdict

RULES = ("all_success", "all_success", "none_failed", "all_done", "one_failed", "one_success", "always")
POLICIES = {
    None: types_pb2.FAILURE_POLICY_CONTINUE,
    0: types_pb2.FAILURE_POLICY_FAIL_FAST,
    1: types_pb2.FAILURE_POLICY_MAX_FAILURES,
}


class Walk:
    """One workflow, and commands that mostly fit its state."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.machine = Machine()
        self.machine.twice = True
        self.reached: Counter[str] = Counter()
        self.machine.join("n1", slots=64)
        steps: list[Step] = []
        for number in range(self.random.randint(1, 14)):
            final = self.random.random() < 0.15
            earlier = [one.key for one in steps if final or not one.final]
            after = self.random.sample(earlier, min(len(earlier), self.random.choice((0, 1, 1, 2, 3))))
            rule = self.random.choice(RULES) if after else "all_success"
            chance = self.random.random
            steps.append(Step(f"k{number}", after, rule, chance() < 0.25, chance() < 0.2, final))
        self.max_failures = self.random.choice((None, None, 0, 1))
        self.workflow = submit(
            self.machine,
            *(
                step(
                    one.key,
                    *one.after,
                    rule=one.rule,
                    final=one.final,
                    can_fail=one.can_fail,
                    condition="x" if one.condition else "",
                )
                for one in steps
            ),
            policy=POLICIES[self.max_failures],
            max_failures=1 if self.max_failures == 1 else 0,
        )
        self.model = Model({one.key: one for one in steps}, self.max_failures)

    def pick(self, *wanted: str) -> str:
        keys = [key for key, one in self.model.steps.items() if one.state in wanted]
        chosen = keys if keys and self.random.random() < 0.9 else list(self.model.steps)
        return self.random.choice(chosen)

    def command(self) -> tuple[str, bool, CommandReply]:
        """What was asked, what the model says to it, and the answer."""
        kinds = ("assign", "success", "failure", "verdict", "cancel", "retry", "resume", "from", "cancel_all")
        kind = self.random.choices(kinds, (8, 6, 3, 6, 0.7, 2, 0.7, 0.7, 0.15))[0]
        expected, reply = getattr(self, kind)()
        return kind, expected, reply

    def id_of(self, key: str) -> str:
        return member(self.machine, self.workflow, key).id

    def assign(self) -> tuple[bool, CommandReply]:
        key = self.pick("queued")
        return self.model.assign(key), self.machine.one(assign(self.id_of(key)))

    def success(self) -> tuple[bool, CommandReply]:
        key = self.pick("assigned")
        task = member(self.machine, self.workflow, key)
        data = b'{"last": "%s"}' % key.encode() if self.random.random() < 0.5 else b""
        done = TaskComplete(id=task.id, fence=task.fence, result=TaskResult(exit_code=0, context_update=data))
        return self.model.report(key, success=True), self.machine.one(Command(task_complete=done))

    def failure(self) -> tuple[bool, CommandReply]:
        key = self.pick("assigned")
        task = member(self.machine, self.workflow, key)
        return self.model.report(key, success=False), self.machine.one(failed(task.id, task.fence))

    def verdict(self) -> tuple[bool, CommandReply]:
        waiting = [key for key, one in self.model.steps.items() if one.condition and one.state == "pending"]
        key = self.random.choice(waiting) if waiting else self.pick("pending")
        value = self.random.random() < 0.6
        return self.model.verdict(key, value=value), verdict(self.machine, self.id_of(key), value=value)

    def cancel(self) -> tuple[bool, CommandReply]:
        key = self.pick("queued", "assigned", "dead_letter")
        return self.model.cancel(key), self.machine.one(cancel(self.id_of(key), "enough"))

    def retry(self) -> tuple[bool, CommandReply]:
        key = self.pick("dead_letter", "failed")
        return self.model.retry(key), self.machine.one(retry(self.id_of(key)))

    def resume(self) -> tuple[bool, CommandReply]:
        return self.model.resume(), self.machine.one(resume(self.workflow))

    def from_key(self) -> tuple[bool, CommandReply]:
        key = self.pick("completed", "skipped", "cancelled")
        return self.model.resume(key), self.machine.one(resume(self.workflow, key))

    def cancel_all(self) -> tuple[bool, CommandReply]:
        return self.model.cancel_all(), self.machine.one(cancel_workflow(self.workflow))

    def step(self) -> None:
        kind, expected, reply = self.command()
        assert reply.accepted == expected, (kind, reply)
        for change in self.machine.outcome.changes:
            old, new = change.old, change.new
            if isinstance(old, types_pb2.Task) and isinstance(new, types_pb2.Task) and old.state != new.state:
                commands = {to for (at, _), rule in TASK_TABLE.items() if at == old.state for to in rule.to}
                assert new.state in commands or (old.state, new.state) in WORKFLOW_STEPS, (
                    kind,
                    old.state,
                    new.state,
                )
        self.reached[f"{kind} {reply.accepted}"] += 1
        self.compare()

    def compare(self) -> None:
        m, model, found = self.machine, self.model, row(self.machine, self.workflow)
        assert states(m, self.workflow) == {key: one.state for key, one in model.steps.items()}
        runs = {key: member(m, self.workflow, key).run for key in model.steps}
        assert runs == {key: one.run for key, one in model.steps.items()}
        assert (state(m, self.workflow), found.run, found.remaining, found.failures) == (
            model.state,
            model.run,
            model.remaining,
            model.failures,
        )
        self.reached[f"ended {model.state}"] += not model.live
        skipped = [one for one in m.rows.values() if isinstance(one, types_pb2.Task) and one.state == 8]
        assert all(one.skip_reason and one.reason for one in skipped)

    def check_derived(self) -> None:
        """What memory derives is what a restart would derive."""
        m = self.machine
        fresh = ClusterState()
        live = [
            one
            for one in m.rows.values()
            if (isinstance(one, types_pb2.Workflow) and one.state in LIVE_WORKFLOW)
            or (
                isinstance(one, types_pb2.Task) and (one.state not in ENDED or one.workflow_id in m.state.workflows)
            )
        ]
        fresh.load(live, m.state.index, 1, m.state.at_us, m.state.digest)
        assert fresh.dags.keys() == m.state.dags.keys()
        for key, dag in fresh.dags.items():
            for name in dag.__slots__:
                assert getattr(dag, name) == getattr(m.state.dags[key], name), name
        assert recount(m.rows.values()) == m.state.digest


setattr(Walk, "from", Walk.from_key)


@pytest.mark.parametrize("seed", range(60))
def test_walk(seed: int) -> None:
    walk = Walk(seed)
    walk.compare()
    for number in range(120):
        walk.step()
        if number % 20 == 0:
            walk.check_derived()
    walk.check_derived()
    again = Machine(spill=False)
    for data in walk.machine.log:
        again.apply_entry(Entry.FromString(data))
    assert again.rows == walk.machine.rows
    assert again.state.digest == walk.machine.state.digest


def test_walks_reach_what_they_are_for() -> None:
    reached: Counter[str] = Counter()
    for seed in range(60):
        walk = Walk(seed)
        for _ in range(120):
            walk.step()
        reached += walk.reached
    for kind in ("assign", "success", "failure", "verdict", "cancel", "retry", "resume", "from", "cancel_all"):
        assert reached[f"{kind} True"] > 20, kind
        assert reached[f"{kind} False"] > 5, kind
    for how in ("completed", "failed", "cancelled"):
        assert reached[f"ended {how}"] > 20, how


def test_hash_of_inputs_sees_run_state_and_result() -> None:
    task = types_pb2.Task(id="w.0", run=1, state=types_pb2.TASK_STATE_COMPLETED)
    hashes = {rules.input_sha256([task])}
    for change in ({"run": 2}, {"state": types_pb2.TASK_STATE_FAILED}, {"result": TaskResult(exit_code=0)}):
        other = types_pb2.Task()
        other.CopyFrom(task)
        other.MergeFrom(types_pb2.Task(**change))  # type: ignore[arg-type]
        hashes.add(rules.input_sha256([other]))
    assert len(hashes) == 4
