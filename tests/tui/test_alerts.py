"""What rings and what is told to the desktop: only what is asked for, only what is news, and not too often."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from textual.color import Color

from tests.tui import fake
from tests.tui.console import open_console
from tests.tui.fake_source import FakeSource
from tui.errors import ClusterError
from tui.link.target import folders
from tui.operator.alerts import BURST, EVERY_S, LEADERLESS_S, Alerts
from tui.operator.preferences import Preferences, load
from tui.operator.theme_list import SAFE, THEMES
from tui.source import LinkState
from tui.store.view import ClusterView
from tui.tty.terminal import Terminal

ROOT = Path(__file__).resolve().parents[2]
ME = "uid:1000"


def view_of() -> ClusterView:
    view = ClusterView()
    for reply in FakeSource().snapshot():
        view.fold(reply, 100.0)
    return view


def heard(view: ClusterView, alerts: Alerts, now_s: float) -> str:
    """The news at a time at which the cluster is heard of."""
    view.link.heard_s = now_s
    return alerts.news(now_s)


def test_news_of_ones_own_tasks_at_most_every_ten_seconds() -> None:
    view = view_of()
    alerts = Alerts(view, ME)
    view.put_task(fake.task(20, "old", fake.FAILED, ended_s=3600, exit_code=1))
    assert heard(view, alerts, 100.0) == "", "history"
    view.put_task(fake.task(21, "mine", fake.FAILED, ended_s=1, exit_code=1))
    assert heard(view, alerts, 100.1) == "Your task mine failed."
    for number in range(30, 33):
        view.put_task(fake.task(number, f"t{number}", fake.DEAD, ended_s=1, exit_code=1))
    assert heard(view, alerts, 100.2) == "", "too soon"
    assert heard(view, alerts, 100.2 + EVERY_S) == "Your task t30 is a dead letter. And 2 more."
    assert heard(view, alerts, 100.3 + 2 * EVERY_S) == ""
    other = fake.task(40, "other", fake.FAILED, ended_s=1, exit_code=1)
    other.actor = "uid:1"
    view.put_task(other)
    assert heard(view, alerts, 100.4 + 2 * EVERY_S) == ""


def test_a_burst_of_letters_and_the_loss_of_the_leader() -> None:
    view = view_of()
    alerts = Alerts(view, "uid:1")
    for number in range(100, 100 + BURST):
        view.put_task(fake.task(number, f"t{number}", fake.DEAD, ended_s=1, exit_code=1))
    assert alerts.news(100.0) == f"{BURST} dead letters within 10 s."
    view.fold_link(LinkState(False))
    assert alerts.news(120.0) == ""
    assert alerts.news(120.0 + LEADERLESS_S) == "No leader is heard of."
    assert alerts.news(150.0) == "", "once"


@pytest.mark.parametrize(("bell", "notify"), [(True, True), (False, True), (True, False), (False, False)])
async def test_rings_and_notifies_as_chosen(bell: bool, notify: bool) -> None:
    own = Preferences(bell=bell, notify=notify, actor=ME)
    async with open_console(preferences=own, terminal=Terminal(multiplexer="tmux")) as session:
        session.source.push(fake.task(50, "\x1b]0;x\x07", fake.FAILED, ended_s=1, exit_code=1))
        await session.settle()
        sent = session.app.escapes
        assert ("\x07" in sent) is bell
        told = [each for each in sent if each != "\x07"]
        assert bool(told) is notify
        for each in told:
            assert each.startswith("\x1bPtmux;\x1b\x1b]9;cortex demo: Your task ")
            assert each.count("\x1b") == 4, "nothing of the name is a control sequence"


def test_console_toml(tmp_path: Path) -> None:
    found = folders({"XDG_CONFIG_HOME": str(tmp_path), "HOME": str(tmp_path)})
    assert load(found).theme == ""
    found.config.mkdir()
    found.console.write_text("theme = 'safe'\nbell = true\n")
    assert (load(found).theme, load(found).bell, load(found).mouse) == ("safe", True, False)
    for text, said in (
        ("theme = 'saef'", "no theme 'saef'"),
        ("bel = true", "no setting 'bel'"),
        ("bell = 1", "bell is 1"),
        ("keys = 'x'", "no setting 'keys'"),
        ("[", "is not valid TOML"),
    ):
        found.console.write_text(text)
        with pytest.raises(ClusterError, match=said.replace("[", "\\[")):
            load(found)


def luminance(color: str) -> float:
    parts = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_words_are_legible_in_every_theme() -> None:
    """On each ground that they can stand on, by WCAG: 4.5 for words, 3 for drawings; 7 in high contrast."""
    tint = re.search(r"\.past .*background: \$warning (\d+)%", (ROOT / "tui/app.tcss").read_text())
    assert tint is not None
    for name, theme in THEMES.items():
        if theme.ansi:
            continue
        words = {role: color for role, color in theme.variables.items() if role.startswith("role-")}
        words["foreground"] = str(theme.foreground)
        del words["role-track"]
        drawings = {role: color for role, color in theme.variables.items() if role.startswith("term-")}
        past = Color.parse(str(theme.surface)).blend(Color.parse(str(theme.warning)), int(tint[1]) / 100)
        calm = (str(theme.background), str(theme.surface))
        rows = [theme.variables[ground] for ground in ("cursor-bg", "cursor-bg-away", "mark-bg")]
        bars = (str(theme.panel), past.hex6)
        pairs = [(role, ground, 4.5) for role in words for ground in (*calm, *rows, *bars)]
        pairs += [(role, str(theme.background), 4.5) for role in drawings]
        pairs += [(role, ground, 3.0) for role in drawings for ground in rows]
        if name == "contrast":
            pairs += [(role, ground, 7.0) for role in words for ground in calm]
        for role, ground, least in pairs:
            found = contrast((words | drawings)[role], ground)
            assert found >= least, (name, role, ground, round(found, 2))


def test_the_safe_theme_needs_no_red_and_green() -> None:
    """As one without red cones sees them (Machado 2009), what is well and what is not differ widely."""
    protan = ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998))
    deutan = ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.01182, 0.04294, 0.968881))

    def seen(color: str, eye: tuple[tuple[float, ...], ...]) -> list[float]:
        parts = [int(color[at : at + 2], 16) for at in (1, 3, 5)]
        return [sum(weight * part for weight, part in zip(row, parts, strict=True)) for row in eye]

    for eye in (protan, deutan):
        for well in ("ok", "busy"):
            for ill in ("bad", "warn"):
                pair = [seen(SAFE.variables[f"role-{role}"], eye) for role in (well, ill)]
                distance = sum((one - other) ** 2 for one, other in zip(*pair, strict=True)) ** 0.5
                assert distance > 90, (well, ill, distance)
