"""Hands the terminal to the operator's editor for a while, and takes it back."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from textual.app import App, SuspendNotSupported

from tui.errors import ClusterError
from tui.operator.editor import edit_text
from tui.source import SourceError


async def edit_aside(app: App[Any], text: str, name: str) -> tuple[str, Path]:
    """What the operator made of the text, and the file that has it. The app must paint nothing meanwhile.

    Raises SourceError.
    """
    try:
        with app.suspend():
            return await asyncio.to_thread(edit_text, text, name)
    except ClusterError as error:
        raise SourceError(error.message, error.remedy) from error
    except SuspendNotSupported:
        message = "This terminal cannot be handed to an editor."
        raise SourceError(message, "Use `cortex retry ID --edit`.") from None
