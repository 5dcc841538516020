"""What is promised of a workflow, said a second time and simply: everything is looked at again after every step."""

from __future__ import annotations

from dataclasses import dataclass, field

LIVE = ("pending", "queued", "assigned")
BAD = ("failed", "dead_letter")


@dataclass
class Step:
    key: str
    after: list[str]
    rule: str
    condition: bool = False
    can_fail: bool = False
    final: bool = False
    state: str = "pending"
    run: int = 1
    wants_end: bool = False  # a cancel was asked for while it was on a node
    failed_once: bool = False  # in this run, whether discarded since or not

    @property
    def ended(self) -> bool:
        return self.state not in LIVE


@dataclass
class Model:
    """Every method returns whether the command is accepted."""

    steps: dict[str, Step]
    max_failures: int | None = None  # None: go on; 0: fail fast
    state: str = "pending"
    run: int = 1
    cancelled: bool = False
    stopping: bool = False
    struck: bool = False  # something failed just now
    begun: bool = False  # something was assigned once
    forced: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.settle()

    @property
    def live(self) -> bool:
        return self.state in ("pending", "running")

    @property
    def remaining(self) -> int:
        return sum(not step.ended for step in self.steps.values())

    @property
    def failures(self) -> int:
        return sum(step.failed_once and step.ended and not step.can_fail for step in self.steps.values())

    def ready(self, step: Step) -> bool:
        plain_ended = all(one.ended for one in self.steps.values() if not one.final)
        return all(self.steps[key].ended for key in step.after) and (plain_ended or not step.final)

    def allowed(self, step: Step) -> bool:
        states = [self.steps[key].state for key in step.after]
        if not states:
            return True
        if step.rule == "all_done":
            return not ((self.cancelled or self.stopping) and "cancelled" in states)
        return {
            "all_success": set(states) <= {"completed"},
            "none_failed": set(states) <= {"completed", "skipped"},
            "one_failed": bool(set(states) & set(BAD)),
            "one_success": "completed" in states,
            "always": True,
        }[step.rule]

    def settle(self) -> None:
        """Until nothing more follows."""
        changed = True
        while changed:
            changed = False
            for step in self.steps.values():
                if step.state == "pending" and not step.condition and self.ready(step):
                    fine = step.key in self.forced or self.allowed(step)
                    step.state = "queued" if fine else "skipped"
                    changed = True
            too_many = self.struck and self.max_failures is not None and self.failures > self.max_failures
            if self.live and too_many and not (self.stopping or self.cancelled):
                self.stopping = changed = True
                self.end_open()
        self.forced, self.struck = set(), False
        if self.live and not self.remaining:
            gone = any(step.state == "cancelled" for step in self.steps.values())
            self.state = "cancelled" if self.cancelled and gone else "failed" if self.failures else "completed"

    def end_open(self) -> None:
        for step in self.steps.values():
            if not step.final:
                self.stop(step)

    def stop(self, step: Step) -> None:
        if step.state in ("pending", "queued"):
            step.state = "cancelled"
        elif step.state == "assigned":
            step.wants_end = True

    def assign(self, key: str) -> bool:
        step = self.steps[key]
        if step.state != "queued":
            return False
        step.state = "assigned"
        self.state, self.begun = "running", True
        return True

    def report(self, key: str, *, success: bool) -> bool:
        step = self.steps[key]
        if step.state != "assigned":
            return False
        if success:
            step.state = "completed"
        elif step.wants_end:
            step.state = "cancelled"
        else:
            step.state = "failed" if step.can_fail else "dead_letter"
            step.failed_once = True
            self.struck = not step.can_fail
        step.wants_end = False
        self.settle()
        return True

    def cancel(self, key: str) -> bool:
        step = self.steps[key]
        if step.ended and step.state != "dead_letter":
            return False
        if step.state == "dead_letter":
            step.state = "cancelled"
        self.stop(step)
        self.settle()
        return True

    def verdict(self, key: str, *, value: bool) -> bool:
        step = self.steps[key]
        if not self.live or step.state != "pending" or not step.condition or not self.ready(step):
            return False
        step.state = "queued" if value and self.allowed(step) else "skipped"
        self.settle()
        return True

    def retry(self, key: str) -> bool:
        step = self.steps[key]
        if step.state not in BAD:
            return False
        if self.live and (self.stopping or self.cancelled) and not step.final:
            return False
        if not self.live:
            self.again()
        self.revive(step, "queued")
        for after in self.descendants([key]):
            if after.ended and after.state != "completed":
                self.revive(after, "pending")
        self.settle()
        return True

    def cancel_all(self) -> bool:
        if not self.live:
            return False
        if not self.cancelled:
            self.cancelled = True
            self.end_open()
            self.settle()
        return True

    def resume(self, key: str = "") -> bool:
        if key:
            start = [self.steps[key]]
        else:
            start = [step for step in self.steps.values() if step.ended and step.state != "completed"]
        affected = {step.key: step for step in start}
        affected |= {step.key: step for step in self.descendants(list(affected))}
        if any(step.state == "assigned" for step in affected.values()):
            return False
        if not any(step.ended for step in affected.values()):
            return False
        self.again()
        for step in affected.values():
            if step.ended:
                self.revive(step, "pending")
            elif step.state == "queued":
                step.state = "pending"
        self.forced = {key} if key else set()
        self.settle()
        return True

    def again(self) -> None:
        self.run += 1
        self.cancelled = self.stopping = False
        self.state = "running" if self.begun else "pending"

    def revive(self, step: Step, state: str) -> None:
        step.state, step.failed_once, step.wants_end = state, False, False
        step.run += 1

    def descendants(self, keys: list[str]) -> list[Step]:
        found: dict[str, Step] = {}
        waiting = list(keys)
        while waiting:
            key = waiting.pop()
            for step in self.steps.values():
                below = key in step.after or (step.final and not self.steps[key].final)
                if below and step.key not in found:
                    found[step.key] = step
                    waiting.append(step.key)
        return list(found.values())
