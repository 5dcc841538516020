"""Text for the terminal's clipboard by OSC 52, past the multiplexers between. Pure."""

from __future__ import annotations

import base64
from typing import Literal

Multiplexer = Literal["", "tmux", "screen"]

MAX_BASE64_BYTES = 74_000
"""Terminals drop longer ones, xterm from 74,994 on."""
_SCREEN_PIECE = 240
"""Old versions of screen take string sequences of 256 bytes."""


def osc52(text: str, multiplexer: Multiplexer = "") -> str:
    """What to write to the terminal to have the text in its clipboard; empty when it is too long for that."""
    encoded = base64.b64encode(text.encode("utf-8", "replace")).decode("ascii")
    if len(encoded) > MAX_BASE64_BYTES:
        return ""
    plain = f"\x1b]52;c;{encoded}\x07"
    # tmux takes the plain one with `set-clipboard on`, the wrapped one with `allow-passthrough on`.
    return plain + wrapped(plain, multiplexer) if multiplexer == "tmux" else wrapped(plain, multiplexer)


def wrapped(sequence: str, multiplexer: Multiplexer) -> str:
    """An escape sequence for the terminal outside of the multiplexer."""
    if multiplexer == "tmux":
        return "\x1bPtmux;" + sequence.replace("\x1b", "\x1b\x1b") + "\x1b\\"
    if multiplexer == "screen":
        pieces = [sequence[at : at + _SCREEN_PIECE] for at in range(0, len(sequence), _SCREEN_PIECE)]
        return "".join(f"\x1bP{piece}\x1b\\" for piece in pieces)
    return sequence
