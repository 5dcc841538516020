"""`cortex` itself: which verbs there are, and the console when none is given."""

from __future__ import annotations

from importlib import metadata

import click

from tui.verbs.base import VerbGroup
from tui.verbs.guide import SECTIONS

VERBS = {
    "console": "tui.verbs.console:console",
    "up": "tui.verbs.local:up",
    "down": "tui.verbs.local:down",
    "submit": "tui.verbs.submit:submit",
    "dispatch": "tui.verbs.dispatch:dispatch",
    "tasks": "tui.verbs.tasks:tasks",
    "task": "tui.verbs.tasks:task",
    "wait": "tui.verbs.follow:wait",
    "logs": "tui.verbs.follow:logs",
    "why": "tui.verbs.why:why",
    "cancel": "tui.verbs.change:cancel",
    "retry": "tui.verbs.change:retry",
    "discard": "tui.verbs.change:discard",
    "priority": "tui.verbs.change:priority",
    "annotate": "tui.verbs.change:annotate",
    "dead-letters": "tui.verbs.dead_letters:dead_letters",
    "operations": "tui.verbs.operations:operations",
    "undo": "tui.verbs.operations:undo",
    "run": "tui.verbs.run:run_",
    "events": "tui.verbs.events:events",
    "diff": "tui.verbs.history:diff",
    "double-runs": "tui.verbs.history:double_runs",
    "nodes": "tui.verbs.nodes:nodes",
    "node": "tui.verbs.nodes:node",
    "approvals": "tui.verbs.nodes:approvals",
    "bench": "tui.verbs.bench:bench",
    "cordon": "tui.verbs.nodes:cordon",
    "uncordon": "tui.verbs.nodes:uncordon",
    "drain": "tui.verbs.drain:drain",
    "remove": "tui.verbs.drain:remove",
    "workflow": "tui.verbs.workflow:workflow",
    "workflows": "tui.verbs.workflows:workflows",
    "settings": "tui.verbs.settings:settings",
    "status": "tui.verbs.cluster:status",
    "cluster": "tui.verbs.cluster:cluster",
    "voters": "tui.verbs.voters:voters",
    "leader": "tui.verbs.leader:leader",
    "snapshot": "tui.verbs.snapshot:snapshot",
    "keymap": "tui.verbs.console:keymap",
    "completion": "tui.verbs.console:completion",
}


def _show_version(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value:
        click.echo(f"cortex {metadata.version('cortex-cluster')}")
        context.exit()


@click.group(
    "cortex",
    cls=VerbGroup,
    verbs=VERBS,
    sections=SECTIONS,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_show_version, help="Print the version."
)
@click.pass_context
def root(context: click.Context) -> None:
    """Run commands on a Cortex cluster. Without a command, open the console.

    The cluster is that of --data or --cluster, else of CORTEX_CLUSTER, else the default that `cortex up` sets.

    Exit codes: 0 done, 1 refused or failed, 2 usage, 3 not found, 4 unreachable or no leader, 130 interrupted.
    """
    if context.invoked_subcommand is None:
        from tui.verbs.console import console

        context.invoke(console)
