"""The payload of a service: when it is ready, when it is healthy, and what happens when it ends by itself."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Literal
from urllib.parse import urlsplit

import msgspec

from node.payloads import patterns
from node.payloads.reading import BadPayload, Payload

URL_CHARS = 2000
HOST_CHARS = 253
GROUPS_LIMIT = 14  # of the 16 endpoints that a task has room for, `port` and `url` take two
CODES_LIMIT = 64
RESTARTS_LIMIT = 1000
_HOUR_S = 3600.0
_DAY_S = 86_400.0
_GROUP = re.compile(r"\{([^{}]*)\}")
_HOST = re.compile(r"[A-Za-z0-9._:-]+")


class Place(Payload, frozen=True):
    """What is asked over the network; `{name}` stands for what the group `name` of ready.pattern matched."""

    port: int | str = 0  # TCP port that takes connections
    host: str = "127.0.0.1"  # of that port
    url: str = ""  # HTTP or HTTPS, asked by GET; certificates are not verified
    status: tuple[int, ...] = ()  # HTTP status codes that will do; empty = 200 to 399

    def asks(self) -> bool:
        return bool(self.port or self.url)

    def check_place(self, where: str, groups: Collection[str]) -> None:
        """Raises BadPayload."""
        if isinstance(self.port, str):
            if _placeholders(f"{where}.port", self.port, groups) != self.port:
                raise BadPayload(f"{where}.port is {self.port[:100]!r}, it is a number or one {{name}}.")
        elif self.port and not 1 <= self.port <= 65535:
            raise BadPayload(f"{where}.port is {self.port}, it goes from 1 to 65535.")
        if len(self.host) > HOST_CHARS or not _HOST.fullmatch(self.host):
            raise BadPayload(f"{where}.host is no name or address of a machine.")
        if self.url:
            self._check_url(where, groups)
        if len(self.status) > CODES_LIMIT or any(not 100 <= code <= 599 for code in self.status):
            raise BadPayload(f"{where}.status takes at most {CODES_LIMIT} codes from 100 to 599.")
        if self.status and not self.url:
            raise BadPayload(f"{where}.status means nothing without {where}.url.")

    def _check_url(self, where: str, groups: Collection[str]) -> None:
        field = f"{where}.url"
        if len(self.url) > URL_CHARS:
            raise BadPayload(f"{field} has {len(self.url)} characters, the limit is {URL_CHARS}.")
        _placeholders(field, self.url, groups)
        if not plain_url(_GROUP.sub("1", self.url)):
            raise BadPayload(f"{field} is no URL that begins with http:// or https://.")


class Ready(Place, frozen=True):
    """All that is given must hold; nothing given = ready as soon as it runs."""

    pattern: str = ""  # RE2, searched in each line of stdout and stderr; named groups become endpoints
    timeout_s: float = 30.0  # not ready by then: stopped
    interval_s: float = 0.25  # between two tries of port and url


class Health(Place, frozen=True):
    """After it is ready; without port and url of its own those of `ready` are asked."""

    interval_s: float = 10.0
    timeout_s: float = 5.0  # of one question
    failures: int = 3  # in a row, then it is stopped as failed


class Restart(Payload, frozen=True):
    """What follows when the command ends by itself, is not ready in time or not healthy."""

    policy: Literal["never", "on_failure", "always"] = "never"
    max_restarts: int = 5  # then the task ends as the command did
    backoff_s: float = 1.0  # before the first, doubled with each further one
    max_backoff_s: float = 60.0
    reset_after_s: float = 600.0  # a command that was ready for that long begins with all of its restarts


class Service(Payload, frozen=True):
    ready: Ready = msgspec.field(default_factory=Ready)
    health: Health | None = None
    restart: Restart = msgspec.field(default_factory=Restart)

    def check(self) -> None:
        groups: list[str] = []
        ready, health, restart = self.ready, self.health, self.restart
        if ready.pattern:
            groups = patterns.names(patterns.compiled("ready.pattern", ready.pattern))
            if len(groups) > GROUPS_LIMIT:
                raise BadPayload(f"ready.pattern has {len(groups)} named groups, the limit is {GROUPS_LIMIT}.")
        ready.check_place("ready", groups)
        _within("ready.timeout_s", ready.timeout_s, 0.1, _DAY_S)
        _within("ready.interval_s", ready.interval_s, 0.05, _HOUR_S)
        if health is not None:
            health.check_place("health", groups)
            if not (health.asks() or ready.asks()):
                raise BadPayload("health has neither port nor url, and ready has none.")
            _within("health.interval_s", health.interval_s, 0.1, _DAY_S)
            _within("health.timeout_s", health.timeout_s, 0.1, _HOUR_S)
            _within("health.failures", health.failures, 1, 1000)
        _within("restart.max_restarts", restart.max_restarts, 0, RESTARTS_LIMIT)
        _within("restart.backoff_s", restart.backoff_s, 0, _HOUR_S)
        _within("restart.max_backoff_s", restart.max_backoff_s, 0, _HOUR_S)
        _within("restart.reset_after_s", restart.reset_after_s, 1, 365 * _DAY_S)


def filled(text: str, found: dict[str, str]) -> str:
    """`text` with what the groups matched in the place of their names."""
    return _GROUP.sub(lambda group: found.get(group[1], ""), text)


def plain_url(text: str) -> bool:
    """Whether it names a machine by http or https, in characters that a request line takes."""
    if not text.isascii() or any(char <= " " or char == "\x7f" for char in text):
        return False
    try:
        parts = urlsplit(text)
        parts.port  # noqa: B018  (raises)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)


def _placeholders(field: str, text: str, groups: Collection[str]) -> str:
    """What `text` has of them. Raises BadPayload when one is no group."""
    for name in _GROUP.findall(text):
        if name not in groups:
            raise BadPayload(f"{field} names {{{name[:100]}}}, which is no named group of ready.pattern.")
    found = _GROUP.search(text)
    return found[0] if found is not None else ""


def _within(field: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise BadPayload(f"{field} is {value:g}, it goes from {low:g} to {high:g}.")
