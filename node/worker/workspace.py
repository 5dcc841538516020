"""What commands left behind in working directories of their own: kept for a while, then removed.

The supervisor names such a directory by a link, "<task>.<fence>", once its command has ended; no other is touched.
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path

_GONE = ".gone-"
# Files that are counted in one directory; what has more is large enough.
_FILES_COUNTED = 100_000


class Workspace:
    """Directories below `folder`."""

    def __init__(self, folder: Path, *, max_age_us: int, max_bytes: int) -> None:
        self._folder = folder
        self._max_age_us = max_age_us
        self._max_bytes = max_bytes

    def trim(self, now_us: int) -> int:
        """Remove what ended too long ago, and the oldest beyond the size limit. Blocks; how many went."""
        links: list[tuple[int, os.DirEntry[str]]] = []
        try:
            entries = list(os.scandir(self._folder))
        except FileNotFoundError:
            return 0
        for entry in entries:
            if entry.name.startswith(_GONE):
                shutil.rmtree(entry.path, ignore_errors=True)
            elif entry.is_symlink():
                links.append((entry.stat(follow_symlinks=False).st_mtime_ns // 1000, entry))
        links.sort(key=lambda each: (-each[0], each[1].name))
        kept_bytes = removed = 0
        for ended_us, link in links:
            number = os.readlink(link.path)
            kept_bytes += _size(f"{self._folder}/{number}") if number.isdecimal() else 0
            if kept_bytes > self._max_bytes or now_us - ended_us > self._max_age_us:
                self._remove(link.path, number)
                removed += 1
        return removed

    def _remove(self, link: str, number: str) -> None:
        if number.isdecimal():
            # By rename first: half-removed it might look unused, and be given to a command.
            gone = f"{self._folder}/{_GONE}{number}"
            with suppress(FileNotFoundError):
                os.rename(f"{self._folder}/{number}", gone)
            shutil.rmtree(gone, ignore_errors=True)
        os.unlink(link)


def _size(folder: str) -> int:
    """Bytes on the disk, without following links."""
    total = count = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            count += 1
            if count > _FILES_COUNTED:
                return total
            try:
                total += os.lstat(f"{parent}/{name}").st_blocks * 512
            except OSError:
                continue
    return total
