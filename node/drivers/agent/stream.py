"""What an agent CLI tells on its stdout: a JSON object on each line (`--output-format stream-json`). Pure.

Whatever a line holds is taken as it comes: what is not valid JSON is text, what is not known is passed over.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

LINE_LIMIT_BYTES = 4 * 1024 * 1024
_SHOWN_CHARS = 20_000
_STEP_CHARS = 160
_PLAIN_LINES = 20
_STATUS_OF = {
    "rate_limit": 429,
    "overloaded": 529,
    "authentication_failed": 401,
    "billing_error": 402,
    "invalid_request": 400,
    "model_not_found": 404,
    "server_error": 500,
}


class Lines:
    """Cuts a stream into lines. Of one beyond the limit nothing is kept but that it was there."""

    def __init__(self, limit_bytes: int = LINE_LIMIT_BYTES) -> None:
        self._limit = limit_bytes
        self._begun = bytearray()
        self._skips = False

    def feed(self, data: bytes) -> Iterator[bytes | None]:
        """Whole lines without their ends; None for one that was too long."""
        at = 0
        while (end := data.find(b"\n", at)) >= 0:
            yield self._whole(data[at:end])
            at = end + 1
        self._add(data[at:])

    def rest(self) -> Iterator[bytes | None]:
        """What the stream ended with."""
        if self._begun or self._skips:
            yield self._whole(b"")

    def _whole(self, data: bytes) -> bytes | None:
        self._add(data)
        line = None if self._skips else bytes(self._begun)
        self._begun.clear()
        self._skips = False
        return line

    def _add(self, data: bytes) -> None:
        if self._skips or len(self._begun) + len(data) > self._limit:
            self._begun.clear()
            self._skips = True
        else:
            self._begun += data


class Story:
    """What an agent has told so far. `hidden` takes out what nobody shall read, before anything is cut."""

    def __init__(self, hidden: Callable[[str], str] = str) -> None:
        self._hidden = hidden
        self.turns = 0
        self.step = ""
        """What it does now, on one line."""
        self.session = ""
        self.model = ""
        self.result: dict[str, Any] | None = None
        """Its last event of type result."""
        self.status = 0
        """HTTP status of the last call to the model's API that failed; 0 = none did, or one went well since."""
        self.trouble = ""
        self.retry_ms = 0
        self.resets_at_s = 0.0
        """When a limit that it ran into ends, unix time; 0 = it is not known."""
        self.plain: deque[str] = deque(maxlen=_PLAIN_LINES)
        """Its last lines that were no events."""
        self._message = ""

    def take(self, line: bytes | None) -> list[str]:
        """Note what a line tells; what of it a person wants to read, as lines."""
        if line is None:
            return [f"(a line of more than {LINE_LIMIT_BYTES >> 20} MiB was left out)"]
        if not line.strip():
            return []
        try:
            event = _mapped(json.loads(line), self._hidden)
        except (ValueError, RecursionError):
            event = None
        if not isinstance(event, dict):
            text = self._hidden(line.decode("utf-8", "replace"))[:_SHOWN_CHARS]
            self.plain.append(text)
            return [text]
        kind = event.get("type")
        if kind == "assistant":
            return self._assistant(event)
        if kind == "user":
            return self._tool_results(event)
        if kind == "result":
            return self._ended(event)
        if kind == "system":
            return self._system(event)
        if kind == "rate_limit_event":
            self._limit(_map(event.get("rate_limit_info")))
        return []

    def _assistant(self, event: dict[str, Any]) -> list[str]:
        message = _map(event.get("message"))
        told = str(event.get("error") or "")
        if told:
            self.status = _STATUS_OF.get(told, self.status or 500)
            self.trouble = _text_of(message)[:_SHOWN_CHARS] or told
        else:
            self.status, self.trouble, self.retry_ms, self.resets_at_s = 0, "", 0, 0.0
        identity = str(message.get("id") or "")
        # One message comes in pieces, each an event of its own.
        if not identity or identity != self._message:
            self.turns += 1
        self._message = identity
        lines: list[str] = []
        for block in _maps(message.get("content")):
            if block.get("type") == "text" and isinstance(block.get("text"), str):
                lines.append(block["text"][:_SHOWN_CHARS].rstrip())
                self.step = _one_line(block["text"]) or self.step
            elif block.get("type") == "tool_use":
                self.step = _one_line(f"{block.get('name') or 'tool'} {_gist(block.get('input'))}")
                lines.append(f"> {self.step}")
        return [line for line in lines if line]

    def _tool_results(self, event: dict[str, Any]) -> list[str]:
        blocks = _maps(_map(event.get("message")).get("content"))
        failed = [block for block in blocks if block.get("type") == "tool_result" and block.get("is_error") is True]
        return [f"! {_one_line(_content(block.get('content')))}" for block in failed]

    def _ended(self, event: dict[str, Any]) -> list[str]:
        self.result = event
        self.session = str(event.get("session_id") or self.session)[:200]
        turns = event.get("num_turns")
        if isinstance(turns, int) and not isinstance(turns, bool) and 0 <= turns < 1 << 31:
            self.turns = max(self.turns, turns)
        status = event.get("api_error_status")
        if isinstance(status, int) and status >= 400:
            self.status = status
        return []

    def _system(self, event: dict[str, Any]) -> list[str]:
        if event.get("subtype") == "init":
            self.session = str(event.get("session_id") or "")[:200]
            self.model = str(event.get("model") or "")[:200]
            named = " ".join(word for word in (self.model, self.session) if word)
            return [f"= session {named}"] if named else []
        if event.get("subtype") == "api_retry":
            status, wait_ms = event.get("error_status"), event.get("retry_delay_ms")
            self.status = status if isinstance(status, int) else 500
            self.trouble = str(event.get("error") or "")[:_STEP_CHARS]
            self.retry_ms = int(wait_ms) if isinstance(wait_ms, int | float) and 0 <= wait_ms < 1e9 else 0
            self.step = f"waits for the model's API ({self.trouble or self.status})"
            return [f"! {self.step}"]
        return []

    def _limit(self, info: dict[str, Any]) -> None:
        if info.get("status") != "rejected":
            return
        self.status = 429
        self.trouble = f"The {info.get('rateLimitType') or 'usage'} limit is reached"[:_STEP_CHARS]
        resets = info.get("resetsAt")
        if isinstance(resets, int | float) and 0 < resets < 1e13:
            self.resets_at_s = resets / 1000 if resets > 1e11 else float(resets)


def _mapped(value: object, change: Callable[[str], str]) -> object:
    """`value` with every text in it changed."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {change(name): _mapped(item, change) for name, item in value.items()}
    return [_mapped(item, change) for item in value] if isinstance(value, list) else value


def _map(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _maps(value: object) -> list[dict[str, Any]]:
    if isinstance(value, str):
        return [{"type": "text", "text": value}]
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _text_of(message: dict[str, Any]) -> str:
    return "\n".join(str(block.get("text", "")) for block in _maps(message.get("content")) if "text" in block)


def _content(value: object) -> str:
    return value if isinstance(value, str) else _text_of({"content": value})


def _gist(value: object) -> str:
    """The input of a tool: the first thing that it is told."""
    if isinstance(value, dict):
        texts = [item for item in value.values() if isinstance(item, str)]
        return texts[0] if texts else ""
    return ""


def _one_line(text: str) -> str:
    return " ".join(text[: _STEP_CHARS * 4].split())[:_STEP_CHARS]
