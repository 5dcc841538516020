"""Write the states of a task into docs/semantics.md from the state machine's own table."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from cortex.v1.types_pb2 import TaskState
from node.core.machine import TASK_TABLE, WORKFLOW_STEPS
from node.core.model import ENDED

PAGE = Path(__file__).with_name("semantics.md")
BEGIN, END = "<!-- states: made by `make docs` -->\n", "<!-- states end -->\n"


def name(state: int) -> str:
    return TaskState.Name(TaskState.ValueType(state)).removeprefix("TASK_STATE_").lower()


def diagram() -> str:
    """A Mermaid diagram: one arrow for each pair of states, with the commands that lead along it."""
    arrows: dict[tuple[str, str], list[str]] = defaultdict(list)
    for (start, command), rule in TASK_TABLE.items():
        for target in sorted(rule.to):
            if target != start:
                arrows[name(start), name(target)].append(command)
    lines = ["```mermaid", "stateDiagram-v2", "  [*] --> queued: submit", "  [*] --> pending: has dependencies"]
    lines += [
        f"  {start} --> {target}: {', '.join(sorted(commands))}" for (start, target), commands in arrows.items()
    ]
    lines += [f"  {name(state)} --> [*]" for state in sorted(ENDED)]
    return "\n".join([*lines, "```"]) + "\n"


def table() -> str:
    """Every command that a state allows, what it may lead to, and on what condition."""
    lines = ["| from | command | to | condition |", "|---|---|---|---|"]
    for (start, command), rule in TASK_TABLE.items():
        if command == "task_annotate":
            continue  # in every state, and changes none
        targets = ", ".join(f"`{name(state)}`" for state in sorted(rule.to))
        lines.append(f"| `{name(start)}` | {command} | {targets} | {rule.guard} |")
    return "\n".join(lines) + "\n"


def workflow_table() -> str:
    """What else happens to a member of a workflow."""
    lines = ["| from, in a workflow | to | by |", "|---|---|---|"]
    by: dict[tuple[int, str], list[int]] = {}
    for (start, target), why in WORKFLOW_STEPS.items():
        by.setdefault((start, why), []).append(target)
    for (start, why), found in by.items():
        targets = ", ".join(f"`{name(target)}`" for target in found)
        lines.append(f"| `{name(start)}` | {targets} | {why} |")
    return "\n".join(lines) + "\n"


def page(text: str) -> str:
    """`text` with the part between the marks made anew."""
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}\n{diagram()}\n{table()}\n{workflow_table()}\n{END}{tail}"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text()))
