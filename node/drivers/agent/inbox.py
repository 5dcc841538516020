"""Messages for a running session, as files: INBOX/SESSION/in/ID.json for it, INBOX/SESSION/out/ID.json from it.

Whoever serves a session takes a message by renaming it into INBOX/SESSION/taken/, and answers with a file of the
same name in out/, written aside and renamed: {"answer": "..."} or {"error": "..."}.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

ANSWER_LIMIT_BYTES = 1024 * 1024
_LOOK_S = 0.1
# What nobody waits for any more: messages that were taken, answers that came late.
_ANSWER_AGE_S = 3600.0
_TAKEN_AGE_S = 2 * 86_400.0  # twice as long as a message may be waited for
_KEPT = 100
_JUST_NOW_S = 60.0  # its driver looks for an answer ten times a second
_SESSIONS = 1000


class InboxError(Exception):
    """A cause (see node.worker.exchange.CAUSES), and a sentence."""

    def __init__(self, cause: str, message: str) -> None:
        super().__init__(message)
        self.cause = cause


def clear(root: str) -> None:
    """Remove what is left over in the boxes of all sessions."""
    with suppress(OSError), os.scandir(root) as found:
        for place in islice((each for each in found if each.is_dir(follow_symlinks=False)), _SESSIONS):
            _clear(Path(place))


def _clear(place: Path) -> None:
    """What is old goes, and the oldest of what is too much. Nobody depends on it."""
    for folder, age_s in (("out", _ANSWER_AGE_S), ("taken", _TAKEN_AGE_S)):
        with suppress(OSError), os.scandir(place / folder) as found:
            # By the time of the rename that put it there: a file may be made long before.
            files = [(each.stat(follow_symlinks=False).st_ctime, each.path) for each in found if _is_ours(each)]
            now_s = time.time()
            for number, (at_s, path) in enumerate(sorted(files, reverse=True)):
                if now_s - at_s > (age_s if number < _KEPT else _JUST_NOW_S):
                    os.unlink(path)


def _is_ours(entry: os.DirEntry[str]) -> bool:
    """A message or an answer, perhaps one that was not finished."""
    return entry.name.endswith((".json", ".part")) and entry.is_file(follow_symlinks=False)


class Inbox:
    """The box of one session."""

    def __init__(self, root: str, session: str) -> None:
        """Raises InboxError when there is no such session."""
        self._session = session
        self._place = Path(root) / session
        if not self._place.is_dir():
            message = f"There is no session {session} on this machine. Start it, or name another one."
            raise InboxError("not_found", message)

    def ask(
        self, identity: str, message: dict[str, Any], timeout_s: float, still: Callable[[str], None]
    ) -> dict[str, Any]:
        """Leave a message and wait for its answer; `still` is told every minute. Raises InboxError and OSError.

        One that was not taken is withdrawn, whatever ends the wait.
        """
        name = f"{identity}.json"
        self._put(name, message)
        try:
            begin_s = time.monotonic()
            minutes = 0
            while (answer := self._answer(name)) is None:
                waited_s = time.monotonic() - begin_s
                if waited_s >= timeout_s:
                    raise InboxError("timeout", self._silence(name, timeout_s))
                if waited_s >= 60 * (minutes + 1):
                    # What is silent for long counts as idle.
                    minutes += 1
                    still(self._silence(name, 60 * minutes))
                time.sleep(_LOOK_S)  # the folder may be on a file system that tells of no changes
            return answer
        finally:
            for folder in ("in", "out"):
                (self._place / folder / name).unlink(missing_ok=True)
            _clear(self._place)

    def _put(self, name: str, message: dict[str, Any]) -> None:
        for folder in ("in", "out", "taken"):
            (self._place / folder).mkdir(mode=0o700, exist_ok=True)
        part = self._place / "in" / f".{name}.part"
        fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(fd, "w") as file:
            json.dump(message, file)
        part.rename(self._place / "in" / name)

    def _answer(self, name: str) -> dict[str, Any] | None:
        try:
            fd = os.open(self._place / "out" / name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except FileNotFoundError:
            return None
        with os.fdopen(fd, "rb") as file:
            data = file.read(ANSWER_LIMIT_BYTES + 1)
        if len(data) > ANSWER_LIMIT_BYTES:
            raise InboxError("exit", f"The answer of session {self._session} has more than 1 MiB.")
        with suppress(ValueError, RecursionError):
            found = json.loads(data)
            if isinstance(found, dict) and any(isinstance(found.get(key), str) for key in ("answer", "error")):
                return found
        raise InboxError("exit", f'The answer of session {self._session} is not {{"answer": TEXT}}.')

    def _silence(self, name: str, timeout_s: float) -> str:
        taken = not (self._place / "in" / name).exists()
        did = "took the message and did not answer" if taken else "did not take the message"
        return f"Session {self._session} {did} in {timeout_s:g} s."
