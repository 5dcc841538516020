"""Arguments that nobody means: an unset variable of a script, a file's content instead of its name."""

from __future__ import annotations

import pytest

from tests.tui.command_line import CommandLine


@pytest.mark.parametrize(
    "arguments",
    [
        ("tasks", "--node", ""),
        ("tasks", "--workflow", ""),
        ("task", ""),
        ("cancel", "t1", ""),
        ("logs", ""),
        ("retry", "--cause", ""),
        ("discard", "--cause", "", "--reason", "r"),
        ("dead-letters", "--cause", ""),
        ("drain", "n1", "--plan", ""),
        ("leader", "transfer", ""),
        ("operations", ""),
        ("double-runs", ""),
        ("undo", ""),
        ("settings", "get", ""),
        ("settings", "set", "", "1"),
        ("events", "--since", ""),
        ("events", "--actor", ""),
        ("submit", "--on", "", "--", "true"),
        ("submit", "--key", "", "--", "true"),
        ("submit", "--file", ""),
        ("dispatch", "--on", "", "prompt"),
        ("workflow", "submit", ""),
        ("workflow", "resume", "w1", "--from", ""),
    ],
)
async def test_an_empty_name_does_not_mean_any(cortex: CommandLine, arguments: tuple[str, ...]) -> None:
    ran = await cortex(*arguments)
    cause, remedy = ran.err.splitlines()
    assert (ran.code, ran.out) == (2, b"")
    assert cause.endswith(" is empty.")
    assert remedy.startswith("See `cortex ")


@pytest.mark.parametrize(
    ("arguments", "where"),
    [
        (("tasks", "--at"), "cortex tasks"),
        (("submit", "--name"), "cortex submit"),
        (("workflow", "list", "--limit"), "cortex workflow list"),
        (("settings", "--data"), "cortex settings"),
        (("tasks", "--nope"), "cortex tasks"),
        (("tasks", "--data"), "cortex tasks"),
        (("--data",), "cortex"),
    ],
)
async def test_a_wrong_option_points_to_the_help_of_its_verb(
    cortex: CommandLine, arguments: tuple[str, ...], where: str
) -> None:
    ran = await cortex(*arguments)
    assert (ran.code, ran.err.splitlines()[1]) == (2, f"See `{where} --help`.")


@pytest.mark.parametrize("long", ["x" * 100_000, "x y " * 25_000])
@pytest.mark.parametrize(
    "verb",
    [("node",), ("tasks", "--at"), ("diff", "--from"), ("drain", "n1", "--deadline"), ("workflow", "submit")],
)
async def test_what_is_quoted_does_not_hide_what_is_said(
    cortex: CommandLine, verb: tuple[str, ...], long: str
) -> None:
    ran = await cortex(*verb, long)
    assert ran.code in (2, 3)
    assert ran.err.startswith("cortex: ")
    assert ran.err.count("\n") == 2
    assert len(ran.err) < 10_000


@pytest.mark.parametrize(
    "arguments",
    [("submit", "--file"), ("workflow", "submit"), ("dispatch", "@"), ("dispatch", "prompt", "--context", "@")],
)
@pytest.mark.parametrize("file", ["/dev/zero", "/", "/no/such", "-"])
async def test_a_file_that_has_no_end_or_is_none(
    cortex: CommandLine, arguments: tuple[str, ...], file: str
) -> None:
    *before, last = arguments
    given = [*before, last + file] if last == "@" else [*arguments, file]
    ran = await cortex(*given, stdin=b"\xff")
    assert ran.code in (1, 2)
    assert ran.err.startswith("cortex: ")
    assert ran.err.count("\n") == 2
