"""Whatever happens to the console, the terminal shows what it would if all of it were painted just now."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from tests.tui.changing import ChangingSource
from tests.tui.wired import Look, WiredSession, open_wired
from tui.tty.pace import Pace
from tui.tty.terminal import Terminal

pytestmark = pytest.mark.long
STEPS = 1000
"""Of each seed; ten of them. Fewer miss what few keys lead to: a title that is not painted again is found by one
seed only, after 851 of them."""
PLACES = 8
"""That each seed goes to, in turn."""
CHECK_STEPS = 50
"""Between two comparisons with a whole picture."""

VIEWS: dict[str, tuple[str, tuple[str, ...]]] = {
    # name: the screen's class, and the keys that lead there from a view's own screen
    "nodes": ("NodesScreen", ("1",)),
    "heatmap": ("NodesScreen", ("1", "m")),
    "queue": ("QueueScreen", ("2", "t", *"one by", "enter")),
    "queue by state": ("QueueScreen", ("2", "t", *"state", "enter")),
    "queue by node": ("QueueScreen", ("2", "t", *"node", "enter", "j", "enter")),
    "workflows": ("WorkflowsScreen", ("3",)),
    "rail": ("DagScreen", ("3", "g", "enter", "equals_sign", "c")),
    "layers": ("DagScreen", ("3", "g", "enter", "m")),
    "list": ("DagScreen", ("3", "g", "enter", "m", "m")),
    "causes": ("LettersScreen", ("4",)),
    "letters": ("LettersScreen", ("4", "t")),
    "cause": ("CauseScreen", ("4", "g", "enter", "tab")),
    "events": ("EventsScreen", ("5",)),
    "operations": ("OperationsScreen", ("L",)),
    "operation": ("OperationScreen", ("L", "g", "enter")),
    "drain": ("DrainScreen", ("1", "g", "D")),
    "node": ("NodeScreen", ("1", "g", "enter")),
    "task": ("TaskScreen", ("2", "t", *"one by", "enter", "g", "enter")),
    "output": ("TaskScreen", ("2", "t", *"one by", "enter", "g", "o")),
    "why": ("WhyScreen", ("2", "t", *"one by", "enter", "g", "W")),
    "preview": ("PreviewScreen", ("2", "t", *"one by", "enter", "g", "K")),
    "submit": ("SubmitScreen", ("S",)),
    "help": ("HelpScreen", ("question_mark",)),
    "palette": ("ChooseScreen", ("ctrl+p", "s")),
    "columns": ("ColumnsScreen", ("2", "O")),
    "filter": ("QueueScreen", ("2", "slash", *"state=")),
    "command line": ("NodesScreen", ("1", "colon", *"them")),
    "past": ("NodesScreen", ("1", "T")),
    "past queue": ("QueueScreen", ("T", "2")),
    "differences": ("DifferencesScreen", ("T", "percent_sign")),
}
KEYS: Sequence[str] = (
    *"jkgGIwhlnNpvUFmtcf", "ctrl+d", "ctrl+u", "pagedown", "space", "asterisk", "tab", "plus", "underscore",
    "greater_than_sign", "less_than_sign", "left_square_bracket", "right_curly_bracket", "z", "enter",
)  # fmt: skip
SIZES = [
    (80, 24),
    (80, 24),
    (40, 12),
    (60, 9),
    (33, 14),
    (120, 30),
    (200, 50),
    (1, 1),
    (2, 3),
    (5, 40),
    (140, 2),
    (79, 24),
    (80, 23),
]
TERMINALS = [
    Terminal(),
    Terminal(light=True),
    Terminal(ascii_only=True),
    Terminal(no_color=True),
    Terminal(few_colors=True),
]


class Walk:
    """One random walk through a console. `trail` tells what was done since the last comparison."""

    def __init__(self, session: WiredSession, source: ChangingSource, draw: random.Random) -> None:
        self._session = session
        self._source = source
        self._draw = draw
        self.trail: list[str] = []

    async def go_to(self, name: str) -> None:
        """Leave whatever is open, and open that."""
        session = self._session
        for _ in range(12):
            if len(session.app.screen_stack) == 1 and not session.app.in_past and session.app.focused is None:
                break
            await session.press("escape")
        self.trail.append(f"to {name}")
        for key in VIEWS[name][1]:
            await session.press(key)

    async def step(self) -> None:
        draw, session = self._draw, self._session
        move = draw.random()
        if move < 0.70:
            self._source.change()
            self.trail.append("change")
            if draw.random() < 0.4:
                await session.settle()
        elif move < 0.87:
            key = draw.choice(KEYS)
            self.trail.append(key)
            await session.press(key)
        elif move < 0.94:
            await self.wait(draw.choice([0.1, 0.3, 1.0, 2.5]))
        elif move < 0.98:
            session.wire.held = not session.wire.held
            self.trail.append("held" if session.wire.held else "goes on")
        else:
            size = draw.choice(SIZES)
            self.trail.append(f"size {size}")
            await session.resize(*size)

    async def wait(self, seconds: float) -> None:
        self.trail.append(f"wait {seconds}")
        self._source.after_us += int(seconds * 1_000_000)
        self._source.tell()
        await self._session.wait(seconds)

    async def check(self) -> None:
        self._session.wire.held = False
        await self._session.settle()
        # On a line that was slow live data would be put off.
        self._session.app.pace = Pace()
        await self.wait(2.5)
        await self._session.still()
        before = self._session.wire.picture()
        after = await self._session.fresh()
        assert before == after, f"{self.trail}\n{differences(before, after)}"
        self.trail.clear()


def differences(before: list[list[Look]], after: list[list[Look]]) -> str:
    """The lines that are not the same, as they were and as they should be."""
    told: list[str] = []
    for y, (old, new) in enumerate(zip(before, after, strict=True)):
        if old != new:
            first = next(x for x in range(len(old)) if old[x] != new[x])
            told += [f"line {y} from cell {first}: {old[first]} for {new[first]}"]
            told += ["".join(cell[0] for cell in line) for line in (old, new)]
    return "\n".join(told[:18])


async def test_the_keys_lead_to_every_view() -> None:
    draw = random.Random(0)
    source = ChangingSource(draw)
    async with open_wired(source, (80, 24)) as session:
        walk = Walk(session, source, draw)
        for name, (screen, _) in VIEWS.items():
            await walk.go_to(name)
            assert type(session.app.screen).__name__ == screen, name


@pytest.mark.parametrize("seed", range(10))
async def test_the_screen_after_random_changes_equals_a_fresh_one(seed: int) -> None:
    draw = random.Random(seed)
    source = ChangingSource(draw)
    # All seeds together go to each of them more than once.
    every = list(VIEWS)
    random.Random(0).shuffle(every)
    places = [every[(seed * PLACES + number) % len(every)] for number in range(PLACES)]
    async with open_wired(source, draw.choice(SIZES[:4]), terminal=TERMINALS[seed % len(TERMINALS)]) as session:
        walk = Walk(session, source, draw)
        for number in range(STEPS):
            if number % (STEPS // PLACES) == 0:
                await walk.go_to(places[number // (STEPS // PLACES)])
            await walk.step()
            if number % CHECK_STEPS == 0:
                await walk.check()
        await walk.check()


@pytest.mark.parametrize("size", [(80, 24), (150, 40), (200, 50)])
async def test_help_opens_in_its_own_shape(size: tuple[int, int]) -> None:
    async with open_wired(ChangingSource(random.Random(0)), size) as session:
        frames: list[str] = []
        write = session.wire.write
        session.wire.write = lambda text, **options: (frames.append(text), write(text, **options))  # type: ignore
        await session.press("question_mark")
        await session.still()
        assert ["Keys in" in frame for frame in frames].count(True) == 1, "it is painted once"
        assert "Keys in" in "".join(session.lines)
