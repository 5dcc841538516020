"""What a subagent task carries: a prompt, and how an agent is to be run on it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Literal
from urllib.parse import parse_qsl, urlsplit

import msgspec

from node.payloads.reading import BadPayload, Payload
from node.payloads.secret_names import REFERENCE, is_reference, names_credential

MAX_TURNS = 10
MAX_TURNS_LIMIT = 1_000
CONTEXT_LIMIT_CHARS = 100_000
NUMBERS_LIMIT = 1_000
WORDS_LIMIT = 100
WORD_LIMIT_CHARS = 4_000
PATH_LIMIT_CHARS = 4_096
SERVERS_LIMIT = 20

_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@/\[\]-]{0,127}")
_SERVER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_SURROGATE = re.compile("[\ud800-\udfff]")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
# Said by keys of their own, or by what reads the agent's output.
_TAKEN = frozenset(
    {
        "-p", "--print", "--output-format", "--input-format", "--verbose", "--max-turns", "--model",
        "--allowedTools", "--allowed-tools", "--mcp-config", "--strict-mcp-config", "-r", "--resume", "-c",
        "--continue",
    }
)  # fmt: skip


class McpServer(Payload, frozen=True):
    """An MCP server that the agent may use: a URL, or a command that speaks on its stdin and stdout."""

    url: str = ""
    type: Literal["", "http", "sse", "stdio"] = ""
    headers: dict[str, str] = msgspec.field(default_factory=dict)
    command: str = ""
    args: tuple[str, ...] = ()
    env: dict[str, str] = msgspec.field(default_factory=dict)

    def check_as(self, place: str) -> None:
        """Raises BadPayload."""
        if bool(self.url) == bool(self.command):
            raise BadPayload(f"{place}: it has either a url or a command.")
        if self.type and (self.type == "stdio") == bool(self.url):
            raise BadPayload(f"{place}: type {self.type} is not that of a {'url' if self.url else 'command'}.")
        if self.url:
            _check_url(place, self.url)
            if self.args or self.env:
                raise BadPayload(f"{place}: args and env are of a command, not of a url.")
        elif self.headers:
            raise BadPayload(f"{place}: headers are of a url, not of a command.")
        _check_words(f"{place}.args", (self.command, *self.args) if self.command else ())
        for word in self.args:
            option, equals, _ = word.partition("=")
            if REFERENCE.search(word) or (equals and option.startswith("-") and names_credential(option)):
                raise BadPayload(f"{place}.args: who lists processes sees arguments; give a secret in env.")
        _check_values(f"{place}.headers", self.headers)
        _check_values(f"{place}.env", self.env)


class Subagent(Payload, frozen=True):
    prompt: str
    context: str = ""
    model: str = ""
    tools: tuple[str, ...] = ()
    max_turns: int = MAX_TURNS
    project_path: str = ""
    flags: tuple[str, ...] = ()
    mcp: dict[str, McpServer] = msgspec.field(default_factory=dict)
    number: int = 0
    count: int = 1

    def check(self) -> None:
        _check_text("prompt", self.prompt)
        if self.context:
            _check_text("context", self.context)
        if len(self.context) > CONTEXT_LIMIT_CHARS:
            raise BadPayload(f"context: it has {len(self.context)} characters, the limit is {CONTEXT_LIMIT_CHARS}.")
        if self.model and not _MODEL.fullmatch(self.model):
            raise BadPayload(f"model: {self.model[:100]!r} is no name of a model.")
        check_project_path(self.project_path)
        _within("max_turns", self.max_turns, 1, MAX_TURNS_LIMIT)
        _within("count", self.count, 1, NUMBERS_LIMIT)
        _within("number", self.number, 0, self.count - 1)
        _check_words("tools", self.tools)
        for tool in self.tools:
            if tool.startswith("-"):
                raise BadPayload(f"tools: {tool[:100]!r} is a flag, not a tool.")
        check_flags(self.flags)
        if len(self.mcp) > SERVERS_LIMIT:
            raise BadPayload(f"mcp: it has {len(self.mcp)} servers, the limit is {SERVERS_LIMIT}.")
        for name, server in self.mcp.items():
            if not _SERVER.fullmatch(name):
                raise BadPayload(f"mcp: {name[:100]!r} is no name of a server; use letters, digits, - and _.")
            server.check_as(f"mcp.{name}")


def check_flags(flags: tuple[str, ...]) -> None:
    """Raises BadPayload unless they are flags that may stand beside ours."""
    _check_words("flags", flags)
    if flags and not flags[0].startswith("-"):
        raise BadPayload(f"flags: {flags[0][:100]!r} is no flag; begin with one.")
    for flag in flags:
        if flag.partition("=")[0] in _TAKEN:
            raise BadPayload(f"flags: {flag[:100]!r} is not for a task to set; there are keys for what it may.")


def check_project_path(path: str) -> None:
    """Raises BadPayload."""
    if not path:
        return
    if not path.startswith("/") or len(path) > PATH_LIMIT_CHARS or _CONTROL.search(path):
        raise BadPayload(f"project_path: {path[:200]!r} is no absolute path.")


def _check_text(field: str, text: str) -> None:
    if not text.strip():
        raise BadPayload(f"{field}: it is empty.")
    if "\0" in text or _SURROGATE.search(text):
        raise BadPayload(f"{field}: it has a NUL or half a surrogate pair.")


def _check_words(field: str, words: Iterable[str]) -> None:
    words = tuple(words)
    if len(words) > WORDS_LIMIT:
        raise BadPayload(f"{field}: it has {len(words)} items, the limit is {WORDS_LIMIT}.")
    for word in words:
        if not word or len(word) > WORD_LIMIT_CHARS or "\0" in word or _SURROGATE.search(word):
            raise BadPayload(f"{field}: an item is empty, too long or has a NUL.")


def _check_values(field: str, values: Mapping[str, str]) -> None:
    _check_words(field, [*values, *(value for value in values.values() if value)])
    for name, value in values.items():
        if "=" in name or _CONTROL.search(name + value):
            raise BadPayload(f"{field}: {name[:100]!r} or its value has a control character or a =.")
        if names_credential(name) and not is_reference(value):
            raise BadPayload(f"{field}.{name[:100]}: the log is no place for a secret; give secret:NAME.")


def _check_url(place: str, url: str) -> None:
    try:
        parts = urlsplit(url)
        known = parts.scheme in ("http", "https") and bool(parts.hostname) and not _CONTROL.search(url)
    except ValueError:
        known = False
    if not known or len(url) > WORD_LIMIT_CHARS:
        raise BadPayload(f"{place}.url: {url[:100]!r} is no http or https address.")
    if "@" in parts.netloc or any(names_credential(name) for name, _ in parse_qsl(parts.query)):
        raise BadPayload(f"{place}.url: the log is no place for a secret; give secret:NAME in headers.")


def _within(field: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise BadPayload(f"{field}: it is {value}, it goes from {low} to {high}.")
