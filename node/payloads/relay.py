"""What a claude_relay task carries: a message for a running session."""

from __future__ import annotations

import re
from typing import Literal

from node.payloads.reading import BadPayload, Payload
from node.payloads.subagent import MAX_TURNS, MAX_TURNS_LIMIT, check_project_path

MESSAGE_LIMIT_CHARS = 100_000
TIMEOUT_S = 300
TIMEOUT_LIMIT_S = 24 * 3600

_SESSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


class Relay(Payload, frozen=True):
    session: str
    message: str
    timeout_s: int = TIMEOUT_S
    mode: Literal["", "inbox", "resume"] = ""  # empty = the machine's own
    project_path: str = ""
    max_turns: int = MAX_TURNS

    def check(self) -> None:
        if not _SESSION.fullmatch(self.session):
            raise BadPayload(f"session: {self.session[:100]!r} is no name of one; use letters, digits, . _ and -.")
        if not self.message.strip() or "\0" in self.message or re.search("[\ud800-\udfff]", self.message):
            raise BadPayload("message: it is empty, or has a NUL or half a surrogate pair.")
        if len(self.message) > MESSAGE_LIMIT_CHARS:
            raise BadPayload(f"message: it has {len(self.message)} characters, the limit is {MESSAGE_LIMIT_CHARS}.")
        if not 1 <= self.timeout_s <= TIMEOUT_LIMIT_S:
            raise BadPayload(f"timeout_s: it is {self.timeout_s}, it goes from 1 to {TIMEOUT_LIMIT_S}.")
        if not 1 <= self.max_turns <= MAX_TURNS_LIMIT:
            raise BadPayload(f"max_turns: it is {self.max_turns}, it goes from 1 to {MAX_TURNS_LIMIT}.")
        check_project_path(self.project_path)
