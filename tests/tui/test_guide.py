"""What `--help` shows: every verb under a heading, whole summaries, examples that are understood."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

import click
import pytest

from node.cli import cli
from tui.errors import ClusterError
from tui.verbs.guide import EXAMPLES, SECTIONS
from tui.verbs.root import VERBS, root

WIDTH = 80


def commands_of(group: click.Group, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Each command below a group with its path."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from commands_of(command, (*path, name))


COMMANDS = {" ".join(path): command for path, command in commands_of(root, ("cortex",))}
COMMANDS |= {" ".join(path): command for path, command in commands_of(cli, ("cortexd",))}


def test_each_verb_stands_under_one_heading() -> None:
    assert sorted(name for names in SECTIONS.values() for name in names) == sorted(VERBS)


@pytest.mark.parametrize("path", COMMANDS)
def test_summaries_are_one_line_that_is_not_cut(path: str) -> None:
    command = COMMANDS[path]
    summary = command.get_short_help_str(WIDTH - 8 - max(map(len, VERBS)))
    assert re.fullmatch(r"[A-Z].*(?<!\.\.)\.", summary), summary
    for option in command.params:
        if isinstance(option, click.Option):
            assert re.fullmatch(r"(?s).+\.", option.help or ""), (path, option.name)


@pytest.mark.parametrize(("path", "line"), [(path, line) for path, lines in EXAMPLES.items() for line in lines])
def test_examples_are_understood(path: str, line: str) -> None:
    typed = re.split(r" {2,}| [|>] ", line)[0]
    program, *arguments = shlex.split(re.sub(r'^eval "\$\((.*)\)"', r"\1", typed))
    assert program == "cortex"
    assert f"cortex {path}".strip() in ("cortex", *COMMANDS)
    command: click.Command = root
    while isinstance(command, click.Group) and arguments and not arguments[0].startswith("-"):
        found = command.get_command(click.Context(command), arguments.pop(0))
        assert found is not None, line
        command = found
    command.make_context(command.name, arguments)


def test_a_misspelt_verb_is_answered_with_the_one_that_was_meant() -> None:
    with pytest.raises(ClusterError) as caught:
        root.main(["stauts"], prog_name="cortex", standalone_mode=False)
    assert "Did you mean `cortex status`?" in caught.value.remedy
