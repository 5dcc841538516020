"""What a workflow may ask for, checked before the log: maps expanded, keys resolved, every default filled in.

What is large is counted before it is made. What apply itself insists on stands in node.core.workflow_checks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from cortex.v1 import types_pb2
from cortex.v1.cluster_pb2 import SubmitWorkflowRequest, TaskRequest, WorkflowTaskRequest
from cortex.v1.log_pb2 import WorkflowSubmit, WorkflowTaskDef
from cortex.v1.types_pb2 import ContextItem, FailurePolicy, Rule, TaskSpec
from node.core import checks, context, rules, validate, workflow_checks
from node.core.checks import SPEC_LIMIT_BYTES
from node.core.dag import find_cycle, is_final
from node.core.faults import Code, Fault
from node.core.workflow_checks import CONDITION_LIMIT_BYTES, EDGES_LIMIT, KEY_LIMIT_CHARS, TASKS_LIMIT

# One log entry holds it, whose limit is 4 MiB.
SIZE_LIMIT_BYTES = 3_500_000

_ITEM = b"{{item}}"
_INDEX = b"{{index}}"
_KEYS = f"Use letters, digits, _, - and dots, at most {KEY_LIMIT_CHARS} characters."
_FILES = "Put large input into files that the commands read."
_NAMED = 5


class _Expanded(NamedTuple):
    """Members by number, and the numbers that a key of the request stands for."""

    items: list[tuple[WorkflowTaskRequest, int]]  # with the place within its map; -1 = not of a map
    numbers: Mapping[str, range]


def complete(
    request: SubmitWorkflowRequest,
    new_id: str,
    lease_ms: int = validate.LEASE_MS,
    sandbox: types_pb2.SandboxLevel.ValueType = validate.NO_SANDBOX,
) -> WorkflowSubmit:
    """The submission of `request` with every default filled in; `lease_ms` and `sandbox` are the cluster's.

    Raises Fault.
    """
    _check_counts(request.tasks)
    _check_keys(request.tasks)
    submit = WorkflowSubmit(
        id=new_id,
        name=request.name or "workflow",
        context=_context(request.context),
        policy=request.policy or types_pb2.FAILURE_POLICY_CONTINUE,
        max_failures=request.max_failures,
        submit_key=request.submit_key,
    )
    _check_policy(submit)
    _check_graph(request.tasks)
    expanded = _expand(request.tasks)
    size = submit.ByteSize()
    for member, (asked, place) in enumerate(expanded.items):
        try:
            definition = _definition(asked, place, member, new_id, expanded, (lease_ms, sandbox))
        except Fault as fault:
            raise Fault(fault.code, f"Task {asked.key!r}: {fault.message}", fault.remedy) from None
        size += definition.ByteSize()
        if size > SIZE_LIMIT_BYTES:
            message = f"The workflow has more than {SIZE_LIMIT_BYTES} bytes, maps expanded; that is the limit."
            raise Fault(Code.TOO_LARGE, message, _FILES)
        submit.tasks.append(definition)
    flaw = workflow_checks.flaw(submit)
    if flaw is not None:
        raise Fault(Code.INVALID, flaw, "Correct the workflow.")
    return submit


def _check_counts(tasks: Sequence[WorkflowTaskRequest]) -> None:
    """How many tasks and dependencies it comes to, maps expanded."""
    if not tasks:
        raise Fault(Code.INVALID, "The workflow has no tasks.", "Give at least one.")
    # Keys are not known to be unique or few yet, so an empty map must not hide what stands beside it.
    count = max(sum(map(_copies, tasks)), len(tasks) if len(tasks) > TASKS_LIMIT else 0)
    if count > TASKS_LIMIT:
        message = f"The workflow has {count} tasks, maps expanded; the limit is {TASKS_LIMIT}."
        raise Fault(Code.TOO_LARGE, message, "Split it into several, or let one task do more.")
    if not count:
        raise Fault(Code.INVALID, "The workflow has no tasks: all its maps are empty.", "Give at least one task.")
    named = sum(len(task.depends_on) for task in tasks)
    edges = named
    if named <= EDGES_LIMIT:
        copies = {task.key: _copies(task) for task in tasks}
        edges = sum(_copies(task) * sum(copies.get(key, 1) for key in task.depends_on) for task in tasks)
    if max(named, edges) > EDGES_LIMIT:
        message = f"The workflow has {max(named, edges)} dependencies, maps expanded; the limit is {EDGES_LIMIT}."
        raise Fault(Code.TOO_LARGE, message, "Put a task between many and many.")


def _copies(task: WorkflowTaskRequest) -> int:
    return len(task.map) if task.mapped or task.map else 1


def _check_keys(tasks: Sequence[WorkflowTaskRequest]) -> None:
    seen: set[str] = set()
    for task in tasks:
        flaw = workflow_checks.key_flaw(task.key) if task.key else "A task has no key."
        if flaw is None and "[" in task.key:
            flaw = f"The task key {task.key!r} must be made of letters, digits, _, - and dots."
        if flaw is not None:
            raise Fault(Code.INVALID, flaw, _KEYS)
        if task.key in seen:
            raise Fault(Code.INVALID, f"Two tasks have the key {task.key!r}.", "Give each a key of its own.")
        seen.add(task.key)


def _context(items: Iterable[ContextItem]) -> list[ContextItem]:
    """By key, each value as compact JSON."""
    found: list[ContextItem] = []
    for item in items:
        try:
            found.append(ContextItem(key=item.key, value=context.compact(context.parse(item.value))))
        except context.NotJson as error:
            message = f"The context's value of {item.key[:KEY_LIMIT_CHARS]!r} cannot be used. {error}"
            raise Fault(Code.INVALID, message, "Give a JSON value.") from None
    found.sort(key=lambda item: item.key)
    flaw = workflow_checks.context_flaw(found)
    if flaw is not None:
        too_large = context.size_bytes(found) > context.LIMIT_BYTES
        remedy = (
            "Keep large data in files, and their names in the context." if too_large else "Correct the context."
        )
        raise Fault(Code.INVALID, flaw, remedy)
    return found


def _check_policy(submit: WorkflowSubmit) -> None:
    for field in ("name", "submit_key"):
        flaw = checks.text_flaw(field, getattr(submit, field))
        if flaw is not None:
            raise Fault(Code.INVALID, flaw, "Use plain text of at most 200 characters.")
    if submit.policy not in FailurePolicy.DESCRIPTOR.values_by_number:
        message = f"policy has the unknown value {submit.policy}."
        raise Fault(Code.INVALID, message, "Use continue, fail_fast or max_failures.")
    if submit.max_failures and submit.policy != types_pb2.FAILURE_POLICY_MAX_FAILURES:
        message = f"max_failures is {submit.max_failures}, but the policy is another."
        raise Fault(Code.INVALID, message, "Leave it out, or use the policy max_failures.")


def _check_graph(tasks: Sequence[WorkflowTaskRequest]) -> None:
    """What names its fault by the user's own keys, before maps are expanded."""
    numbers = {task.key: number for number, task in enumerate(tasks)}
    for task in tasks:
        _check_dependencies(task, numbers)
        if not is_final(task):
            final = [key for key in task.depends_on if is_final(tasks[numbers[key]])]
            if final:
                message = f"Task {task.key!r} depends on {final[0]!r}, which runs finally: after all others."
                raise Fault(Code.INVALID, message, "Make it finally, too, or let it depend on another task.")
    parents = [[numbers[key] for key in task.depends_on] for task in tasks]
    cycle = [tasks[number].key for number in find_cycle(parents)]
    if cycle:
        message = f"The dependencies go in a circle: {workflow_checks.cycle_text(cycle)}."
        raise Fault(Code.INVALID, message, "Remove one of these dependencies.")


def _check_dependencies(task: WorkflowTaskRequest, numbers: Mapping[str, int]) -> None:
    if task.key in task.depends_on:
        raise Fault(Code.INVALID, f"Task {task.key!r} depends on itself.", "Remove that dependency.")
    unknown = [key[:KEY_LIMIT_CHARS] for key in task.depends_on if key not in numbers]
    if unknown:
        more = f" and {len(unknown) - _NAMED} more" if len(unknown) > _NAMED else ""
        words = ", ".join(map(repr, unknown[:_NAMED])) + more
        message = f"Task {task.key!r} depends on {words}, which the workflow does not have."
        raise Fault(Code.INVALID, message, "Name keys of tasks of the same workflow.")
    if len(set(task.depends_on)) != len(task.depends_on):
        twice = next(key for key in task.depends_on if list(task.depends_on).count(key) > 1)
        raise Fault(Code.INVALID, f"Task {task.key!r} depends on {twice!r} twice.", "Name it once.")


def _expand(tasks: Sequence[WorkflowTaskRequest]) -> _Expanded:
    items: list[tuple[WorkflowTaskRequest, int]] = []
    numbers: dict[str, range] = {}
    for task in tasks:
        places = range(len(task.map)) if task.mapped or task.map else range(-1, 0)
        numbers[task.key] = range(len(items), len(items) + len(places))
        items += [(task, place) for place in places]
    return _Expanded(items, numbers)


def _definition(
    asked: WorkflowTaskRequest,
    place: int,
    member: int,
    new_id: str,
    expanded: _Expanded,
    defaults: tuple[int, types_pb2.SandboxLevel.ValueType],
) -> WorkflowTaskDef:
    key = asked.key if place < 0 else f"{asked.key}[{place}]"
    if asked.task.submit_key:
        remedy = "Give the submit key to the workflow."
        raise Fault(Code.INVALID, "A task of a workflow has no submit key of its own.", remedy)
    _check_condition(asked)
    task = TaskRequest()
    task.CopyFrom(asked.task)
    task.name = task.name or key
    if place >= 0:
        _fill(task, asked.map[place], place)
    complete_task = validate.complete(task, f"{new_id}.{member}", *defaults)
    definition = WorkflowTaskDef(
        key=key,
        spec=complete_task.spec,
        depends_on=[number for parent in asked.depends_on for number in expanded.numbers[parent]],
        condition=asked.condition,
        rule=rules.in_force(asked.rule, asked.condition, is_final(asked)),
        priority=complete_task.priority,
        can_fail=asked.can_fail,
        template=asked.key if place >= 0 else "",
        name=complete_task.name,
    )
    if is_final(asked):
        setattr(definition, "finally", True)
    return definition


def _check_condition(asked: WorkflowTaskRequest) -> None:
    flaw = workflow_checks.condition_flaw(asked.condition)
    if flaw is not None:
        raise Fault(Code.INVALID, flaw, f"Write an expression of at most {CONDITION_LIMIT_BYTES} bytes.")
    if asked.rule not in Rule.DESCRIPTOR.values_by_number:
        message = f"rule has the unknown value {asked.rule}."
        raise Fault(Code.INVALID, message, "Use one that `cortex workflow submit --help` names.")
    if asked.rule in (types_pb2.RULE_ONE_FAILED, types_pb2.RULE_ONE_SUCCESS) and not asked.depends_on:
        name = Rule.Name(asked.rule).removeprefix("RULE_").lower()
        message = f"rule is {name}, but the task depends on nothing."
        raise Fault(Code.INVALID, message, "Name what it depends on, or leave the rule out.")


def _fill(task: TaskRequest, item: bytes, place: int) -> None:
    """Put {{item}} and {{index}} into the command, the environment and the name."""
    try:
        value = context.parse(item)
    except context.NotJson as error:
        message = f"Item {place} of its map cannot be used. {error}"
        raise Fault(Code.INVALID, message, "Give a JSON value.") from None
    text = value.encode("utf-8", "surrogatepass") if isinstance(value, str) else context.compact(value)
    index = str(place).encode()

    spec: TaskSpec = task.spec
    fields = [*spec.argv, spec.shell_command, *(variable.value for variable in spec.env), task.name.encode()]
    size = sum(len(data) + data.count(_ITEM) * len(text) for data in fields)
    if size > SPEC_LIMIT_BYTES:
        message = f"With item {place} of its map filled in it has {size} bytes, the limit is {SPEC_LIMIT_BYTES}."
        raise Fault(Code.TOO_LARGE, message, _FILES)

    def filled(data: bytes) -> bytes:
        # Not one after the other: an item may itself contain what stands for the index.
        return text.join(part.replace(_INDEX, index) for part in data.split(_ITEM))

    arguments = [filled(argument) for argument in spec.argv]
    del spec.argv[:]
    spec.argv.extend(arguments)
    spec.shell_command = filled(spec.shell_command)
    for variable in spec.env:
        variable.value = filled(variable.value)
    task.name = filled(task.name.encode()).decode("utf-8", "replace")
