"""The documents agree with the code: codes, statuses, exit codes, settings, links, the systemd unit."""

from __future__ import annotations

import configparser
import re
import runpy
import shlex
import shutil
import subprocess
from dataclasses import fields
from pathlib import Path

import click
import pytest

from node.cli import cli
from node.config import Config, load
from node.core.faults import Code
from node.libraries import RAFTOS_COMMAND
from node.rpc.errors import STATUS
from tui.errors import ClusterError
from tui.verbs.root import root

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


def understood(line: str) -> dict[str, object]:
    """The flags of a command line of `cortex` or `cortexd`; raises for a verb or flag that does not exist."""
    program, *arguments = shlex.split(line, comments=True)
    command: click.Command = cli if program == "cortexd" else root
    while isinstance(command, click.Group) and arguments and not arguments[0].startswith("-"):
        found = command.get_command(click.Context(command), arguments.pop(0))
        assert found is not None, line
        command = found
    return command.make_context(command.name, arguments).params


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_of_the_pages_are_understood(page: Path) -> None:
    blocks = "".join(re.findall(r"^ *```(?:sh)?\n(.*?)^ *```$", page.read_text(), flags=re.MULTILINE | re.DOTALL))
    lines = [line.strip() for line in blocks.replace("\\\n", " ").splitlines()]
    for line in lines:
        if re.match(r"cortexd? ", line) and not re.search(r" \| ", line):
            flags = understood(line)
            if line.startswith("cortexd run "):
                assert load(flags, {}).id
    assert len(lines) > 50 or page.name != "operator-guide.md"


def test_commands_and_paths_of_the_page_for_developers_are_there() -> None:
    text = (ROOT / "docs/development.md").read_text()
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    named = set(re.findall(r"\bmake ([a-z]+)\b", text))
    assert named - {"the"} <= targets
    assert {"setup", "up", "verify", "test", "sim", "chaos", "bench", "proto", "docs", "screenshots"} <= named
    for path in re.findall(r"(?:`|pytest )((?:node|tui|tests|bench|screenshots|proto|docs)/[\w./]*\w)", text):
        assert (ROOT / path).exists(), path
    for module in re.findall(r"python -m (bench|tests)[. ](\w+)", text):
        place = ROOT.joinpath(*module)
        assert place.with_suffix(".py").exists() or (place / "__main__.py").exists(), module


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


def test_systemd_takes_the_units(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    for unit in (ROOT / "docs").glob("*.service"):
        # The programs need not be installed here.
        text = re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", unit.read_text(), flags=re.MULTILINE)
        (tmp_path / unit.name.replace("@.", "@n2.")).write_text(text)
    units = sorted(str(unit) for unit in tmp_path.iterdir())
    assert len(units) == 2
    said = subprocess.run(["systemd-analyze", "verify", *units], capture_output=True, text=True, check=False)
    assert (said.returncode, [line for line in said.stderr.splitlines() if "cortex" in line]) == (0, []), (
        said.stderr
    )
