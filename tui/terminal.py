"""What the terminal can show, judged from its environment."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tui.draw import ASCII, UNICODE, Glyphs


@dataclass(frozen=True)
class Terminal:
    ascii_only: bool = False
    no_color: bool = False
    light: bool = False

    @property
    def glyphs(self) -> Glyphs:
        return ASCII if self.ascii_only else UNICODE


def detect(environ: Mapping[str, str]) -> Terminal:
    """ASCII unless the locale is UTF-8 and TERM is not dumb; NO_COLOR as its site says; COLORFGBG for light."""
    locale = environ.get("LC_ALL") or environ.get("LC_CTYPE") or environ.get("LANG") or ""
    utf8 = "utf8" in locale.lower().replace("-", "")
    dumb = environ.get("TERM", "") == "dumb"
    background = environ.get("COLORFGBG", "").rpartition(";")[2]
    light = background.isascii() and background.isdigit() and int(background) in (7, 15)
    return Terminal(ascii_only=not utf8 or dumb, no_color=bool(environ.get("NO_COLOR")), light=light)


def as_started(environ: Mapping[str, str]) -> Mapping[str, str]:
    """The environment without the UTF-8 locale that Python gives itself when it is started in the C locale."""
    started = b"LC_CTYPE="
    with suppress(OSError):
        started = Path("/proc/self/environ").read_bytes()
    if any(entry.startswith(b"LC_CTYPE=") for entry in started.split(b"\0")):
        return environ
    return {name: value for name, value in environ.items() if name != "LC_CTYPE"}
