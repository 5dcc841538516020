"""The documents agree with the code: codes, statuses, exit codes, settings, links, the systemd unit."""

from __future__ import annotations

import configparser
import re
import runpy
import shlex
from dataclasses import fields
from pathlib import Path

import click
import pytest

from node.cli import cli
from node.config import Config, load
from node.core.faults import Code
from node.libraries import RAFTOS_COMMAND
from node.rpc.errors import STATUS
from tests.e2e.console_blocks import other_commands
from tui.errors import ClusterError

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").glob("*.md")])


def rows(page: str, first_cell: str) -> list[list[str]]:
    """Cells of the table rows whose first cell matches, without code marks."""
    found = []
    for line in (ROOT / "docs" / page).read_text().splitlines():
        cells = [cell.strip().strip("`") for cell in line.strip("|").split("|")] if line.startswith("|") else []
        if cells and re.fullmatch(first_cell, cells[0]):
            found.append(cells)
    return found


def codes() -> list[list[str]]:
    return [row for row in rows("errors.md", "[a-z_]+") if len(row) == 5 and row[0] != "code"]


def test_every_code_is_explained_once() -> None:
    assert [row[0] for row in codes()] == [str(code) for code in Code]


@pytest.mark.parametrize("row", codes(), ids=lambda row: row[0])
def test_code_status_and_exit(row: list[str]) -> None:
    code, status, exit_code, cause, remedy = row
    assert STATUS[Code(code)].name == status
    assert ClusterError(code, "", "").exit_code == int(exit_code)
    assert cause.endswith(".")
    assert remedy.endswith(".")


def test_every_setting_of_the_daemon_is_explained_with_its_default() -> None:
    explained = {row[0].removeprefix("CORTEX_").lower(): row[1] for row in rows("environment.md", "CORTEX_[A-Z_]+")}
    for item in fields(Config):
        assert item.name in explained
        if isinstance(item.default, int) and item.default > 1:
            assert int(explained[item.name].replace(" ", "")) == item.default, item.name


def test_every_code_that_the_command_line_makes_is_explained() -> None:
    explained = {row[0] for row in rows("errors.md", "[a-z_]+")}
    for file in (ROOT / "tui").rglob("*.py"):
        made = re.findall(r"ClusterError\(\s*\"([a-z_]+)\"", file.read_text())
        assert set(made) <= explained, file


def test_configuration_in_the_operator_guide_is_accepted(tmp_path: Path) -> None:
    guide = (ROOT / "docs/operator-guide.md").read_text()
    # The first is the daemon's; those behind it are the console's.
    example, *_ = re.findall(r"^```toml\n(.*?)^```$", guide, flags=re.MULTILINE | re.DOTALL)
    file = tmp_path / "cortexd.toml"
    file.write_text(example)
    config = load({"config": str(file)}, {})
    assert config.is_voter
    assert len(config.voters) == 3
    assert config.labels == ("rack=a", "ssd")


def test_commands_of_the_operator_guide_are_understood() -> None:
    guide = (ROOT / "docs/operator-guide.md").read_text()
    lines = [line for line in other_commands(guide) if line.startswith("cortexd ")]
    assert lines
    for line in lines:
        command: click.Command = cli
        _, *arguments = shlex.split(line)
        while isinstance(command, click.Group):
            verb, *arguments = arguments
            command = command.commands[verb]
        flags = command.make_context(verb, arguments).params
        if verb == "run":
            assert load(flags, {}).id


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text()
    for target in re.findall(r"\]\(([^)\s]+)\)|<img[^>]+src=\"([^\"]+)\"", text):
        place = next(part for part in target if part)
        if re.match(r"https?:", place):
            continue
        name, _, anchor = place.partition("#")
        linked = (page.parent / name) if name else page
        assert linked.exists(), place
        if anchor:
            headings = re.findall(r"^#+ (.+)$", linked.read_text(), flags=re.MULTILINE)
            slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in slugs, place


def test_the_line_that_brings_raftos_is_everywhere_the_same() -> None:
    for page in ("README.md", "docs/operator-guide.md"):
        assert RAFTOS_COMMAND in (ROOT / page).read_text(), page
    requirement = RAFTOS_COMMAND.split()[-1]
    assert f"--no-deps {requirement}" in (ROOT / "Makefile").read_text()
    assert f'"{requirement}"' in (ROOT / "pyproject.toml").read_text()


def test_the_page_of_keys_is_fresh() -> None:
    made = runpy.run_path(str(ROOT / "docs/make_keys.py"))["page"]()
    assert (ROOT / "docs/keys.md").read_text() == made, "run `make docs`"


def test_the_states_of_a_task_are_those_of_the_machine() -> None:
    text = (ROOT / "docs/semantics.md").read_text()
    assert runpy.run_path(str(ROOT / "docs/make_states.py"))["page"](text) == text, "run `make docs`"


def test_the_unit_starts_the_daemon_and_leaves_the_commands_alone() -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read(ROOT / "docs/cortexd.service")
    service = unit["Service"]
    program, verb, *arguments = shlex.split(service["ExecStart"])
    assert program.endswith("/cortexd")
    assert isinstance(cli, click.Group)
    known = {name for option in cli.commands[verb].params for name in option.opts}
    assert {argument for argument in arguments if argument.startswith("-")} <= known
    assert service["KillMode"] == "process"
