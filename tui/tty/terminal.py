"""What the terminal can show, judged from its environment."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tui.drawing.draw import ASCII, UNICODE, Glyphs
from tui.tty.clipboard import Multiplexer

_NO_CLIPBOARD = frozenset({"", "dumb", "linux", "vt100", "vt220"})
"""Values of TERM whose terminals have none."""


@dataclass(frozen=True)
class Terminal:
    ascii_only: bool = False
    no_color: bool = False
    light: bool = False
    few_colors: bool = False
    """16 at most, of the user's own choice."""
    multiplexer: Multiplexer = ""
    clipboard: bool = True
    """Whether it may take OSC 52."""
    vertical_tabs: bool = True
    """Whether a vertical tab is a step down, as for the VT100 and all that follow it."""

    @property
    def glyphs(self) -> Glyphs:
        return ASCII if self.ascii_only else UNICODE


def detect(environ: Mapping[str, str]) -> Terminal:
    """ASCII unless the locale is UTF-8 and TERM is not dumb; NO_COLOR as its site says; COLORFGBG for light."""
    locale = environ.get("LC_ALL") or environ.get("LC_CTYPE") or environ.get("LANG") or ""
    utf8 = "utf8" in locale.lower().replace("-", "")
    term = environ.get("TERM", "")
    dumb = term == "dumb"
    background = environ.get("COLORFGBG", "").rpartition(";")[2]
    light = background.isascii() and background.isdigit() and int(background) in (7, 15)
    rich = "256color" in term or "direct" in term or environ.get("COLORTERM", "") in ("truecolor", "24bit")
    return Terminal(
        ascii_only=not utf8 or dumb,
        no_color=bool(environ.get("NO_COLOR")),
        light=light,
        few_colors=not rich and term in ("linux", "xterm", "vt100", "vt220", "ansi", "screen", "tmux", "rxvt"),
        multiplexer=_multiplexer(environ, term),
        clipboard=term not in _NO_CLIPBOARD and environ.get("TERM_PROGRAM") != "Apple_Terminal",
        vertical_tabs=not (dumb or term.startswith("eterm")),
    )


def _multiplexer(environ: Mapping[str, str], term: str) -> Multiplexer:
    """The one that the console runs in; over SSH only its TERM is told."""
    if environ.get("TMUX") or term.startswith("tmux"):
        return "tmux"
    return "screen" if environ.get("STY") or term.startswith("screen") else ""


def as_started(environ: Mapping[str, str]) -> Mapping[str, str]:
    """The environment without the UTF-8 locale that Python gives itself when it is started in the C locale."""
    started = b"LC_CTYPE="
    with suppress(OSError):
        started = Path("/proc/self/environ").read_bytes()
    if any(entry.startswith(b"LC_CTYPE=") for entry in started.split(b"\0")):
        return environ
    return {name: value for name, value in environ.items() if name != "LC_CTYPE"}
