"""dispatch: one prompt for several agents."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from tui.drawing.text import clean
from tui.errors import usage
from tui.verbs.base import emit, run, say, settings, verb
from tui.verbs.submit import read_text

if TYPE_CHECKING:
    from cortex.v1 import cluster_pb2
    from tui.link.client import ClusterClient

# More than a task may hold; the cluster says what that is.
MAX_FILE_BYTES = 1 << 20
_PLURALS = {"capability": "capabilities"}
_SHARED = ("model", "tools", "max_turns", "project_path")


@verb()
@click.argument("prompt", metavar="PROMPT|@FILE")
@click.option("--count", metavar="N", type=int, default=1, help="How many agents; default 1.")
@click.option("--context", metavar="TEXT|@FILE", default="", help="Text that each gets in addition to the prompt.")
@click.option("--model", metavar="NAME", help="Model to use; default: the agent program's own.")
@click.option(
    "--tool", "tools", metavar="TOOL", multiple=True, help="Tool they may use without asking; repeatable."
)
@click.option("--max-turns", metavar="N", help="Most turns of each agent; default 10.")
@click.option("--project-path", metavar="DIR", help="Working directory on the node.")
@click.option("--name", metavar="TEXT", help="Shown in lists; default: subagent.")
@click.option("--priority", metavar="0-10", help="Higher runs first; default 0.")
@click.option("--retries", metavar="N", help="Retries after the first failure; default 3.")
@click.option("--timeout", metavar="TIME", help="Longest run of one attempt, as 30s or 1h30m.")
@click.option("--on", metavar="NODE", help="Run on this node only.")
@click.option("--label", metavar="L", multiple=True, help="Run on a node with any of these labels; repeatable.")
@click.option("--capability", metavar="NAME", multiple=True, help="Capability that the node must have; repeatable.")
def dispatch(prompt: str, count: int, context: str, **flags: Any) -> None:
    """Give one prompt to several agents, one task each.

    Prints the ids of the tasks, which are of type subagent. Each agent is told its number, from 0, and how many
    there are. The tasks wait for a node that offers an agent program.
    """
    given = {name: value for name, value in flags.items() if value not in (None, ())}
    task = _task({name: value for name, value in given.items() if name not in _SHARED}, _shared(given))
    texts = (_text("PROMPT", prompt), _text("--context", context))

    async def work(client: ClusterClient) -> None:
        reply = await client.dispatch_subagents(*texts, count=count, task=task)
        if settings().json:
            emit({"ids": list(reply.ids), "index": reply.index})
        else:
            for task_id in reply.ids:
                say(clean(task_id))

    run(work)


def _shared(given: dict[str, Any]) -> dict[str, Any]:
    """The keys of the payload that all have in common."""
    from tui.written.taskspec import whole

    found = {name: list(value) if name == "tools" else value for name, value in given.items() if name in _SHARED}
    try:
        return {name: whole(value) if name == "max_turns" else value for name, value in found.items()}
    except ValueError as error:
        raise usage(f"--max-turns: {error}.", "See `cortex dispatch --help`.") from None


def _task(given: dict[str, Any], payload: dict[str, Any]) -> cluster_pb2.TaskRequest:
    from tui.written.taskspec import BadField, task_request

    fields = {
        _PLURALS.get(key, key): list(value) if isinstance(value, tuple) else value for key, value in given.items()
    }
    try:
        return task_request({"type": "subagent", "payload": payload, **fields})
    except BadField as error:
        flag = next((flag for flag, key in _PLURALS.items() if key == error.field), error.field)
        raise usage(f"--{flag}: {error.problem}.", "See `cortex dispatch --help`.") from None


def _text(what: str, given: str) -> str:
    if not given.startswith("@"):
        return given
    name = given[1:]
    if not name:
        raise usage(f"{what}: there is no file after @.", "Name a text file after @.")
    return read_text(name, MAX_FILE_BYTES)
