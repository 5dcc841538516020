"""Lets the user edit a text in an editor of their own."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from tui.errors import ClusterError
from tui.link.target import editor

LIMIT_BYTES = 1024 * 1024


def edit_text(text: str, name: str) -> tuple[str, Path]:
    """What the user made of `text`, and the file that has it until forget(). Raises ClusterError."""
    command = editor()
    path = Path(tempfile.mkdtemp(prefix="cortex-")) / name
    path.write_text(text)
    try:
        code = subprocess.run([*command, str(path)], check=False).returncode
    except OSError as error:
        why = error.strerror or str(error)
        raise ClusterError(
            "failed", f"The editor {command[0]} cannot be started: {why}.", "Set EDITOR to one that is installed."
        ) from None
    if code:
        raise ClusterError("failed", f"The editor ended with {code}.", f"What was written is in {path}.")
    try:
        if path.stat().st_size > LIMIT_BYTES:
            raise ClusterError("too_large", "The edited file has more than 1 MiB.", f"It is in {path}.")
        return path.read_text(), path
    except (OSError, UnicodeDecodeError):
        raise ClusterError("failed", "The edited file cannot be read as text.", f"It is in {path}.") from None


def forget(path: Path) -> None:
    """Remove what edit_text() left."""
    shutil.rmtree(path.parent, ignore_errors=True)
