"""Conditions judged within the caller's own process, for simulations: no process, no waiting."""

from __future__ import annotations

from node.conditions.evaluate import evaluate, syntax
from node.conditions.port import Answer, Question


class DirectJudge:
    """Implements port.Judge. An expression that ends in no engine's loop holds up everything."""

    async def judge(self, question: Question) -> Answer:
        if question.syntax_only:
            return Answer(True, syntax(question.expression)[1])
        kind, error = evaluate(question.expression, question.inputs.decode())
        return Answer(kind == 1, error, timed_out=kind == 3)

    async def close(self) -> None:
        return
