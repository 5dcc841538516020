"""What a service is asked, to see whether it takes requests: an answer within a time, and nothing held up by it."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Mapping
from urllib.parse import urlsplit

from node.payloads.service import Place, filled, plain_url

_HEAD_BYTES = 4096
_CODES = range(200, 400)


class CheckFailed(Exception):
    """One clause that says what was wrong."""


class Check:
    """One question, asked beside the loop. `wake_fd` gets a byte when there is an answer."""

    def __init__(self, place: Place, found: Mapping[str, str], timeout_s: float, wake_fd: int) -> None:
        self._place = place
        self._found = dict(found)
        self._deadline = time.monotonic() + timeout_s
        self._wake_fd = wake_fd
        self.answer: str | None = None
        """What was wrong, empty when nothing was; None while it goes on."""
        threading.Thread(target=self._run, daemon=True).start()

    @property
    def overdue(self) -> bool:
        """Whether it takes longer than it may, as a name that cannot be looked up does."""
        return self.answer is None and time.monotonic() > self._deadline + 1.0

    def _run(self) -> None:
        try:
            self._ask()
            self.answer = ""
        except CheckFailed as failed:
            self.answer = str(failed)
        except OSError as error:
            self.answer = error.strerror or str(error) or type(error).__name__
        except Exception as error:
            self.answer = f"{type(error).__name__}: {error}"
        finally:
            os.write(self._wake_fd, b"a")

    def _ask(self) -> None:
        place = self._place
        if place.port:
            connect(place.host, port_of(place, self._found), self._deadline).close()
        if place.url:
            status = http_status(filled(place.url, self._found), self._deadline)
            if status not in (place.status or _CODES):
                raise CheckFailed(f"HTTP status {status}")


def endpoints(place: Place, found: Mapping[str, str]) -> dict[str, str]:
    """Where it was asked, beside what the pattern named."""
    places = dict(found)
    if place.port:
        places["port"] = f"{place.host}:{port_of(place, places)}"
    if place.url:
        places["url"] = filled(place.url, dict(found))
    return places


def port_of(place: Place, found: Mapping[str, str]) -> int:
    """Raises CheckFailed when what the pattern named is no port."""
    if isinstance(place.port, int):
        return place.port
    text = filled(place.port, dict(found))
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text[:6]) <= 65535:
        raise CheckFailed(f"{text[:100]!r} is no port")
    return int(text)


def connect(host: str, port: int, deadline: float) -> socket.socket:
    """Raises OSError."""
    return socket.create_connection((host, port), timeout=_left(deadline))


def http_status(url: str, deadline: float) -> int:
    """The status that a GET is answered with; the answer's body is not read. Raises CheckFailed, OSError."""
    if not plain_url(url):
        raise CheckFailed(f"{url[:100]!r} is no URL")
    parts = urlsplit(url)
    host, secure = parts.hostname or "", parts.scheme == "https"
    port = parts.port or (443 if secure else 80)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    request = f"GET {target} HTTP/1.1\r\nHost: {parts.netloc.rpartition('@')[2]}\r\nConnection: close\r\n"
    with _secured(connect(host, port, deadline), host, secure, deadline) as sock:
        sock.settimeout(_left(deadline))
        sock.sendall(f"{request}User-Agent: cortex\r\nAccept: */*\r\n\r\n".encode("ascii"))
        head = b""
        while b"\n" not in head and len(head) < _HEAD_BYTES:
            sock.settimeout(_left(deadline))
            data = sock.recv(_HEAD_BYTES)
            if not data:
                break
            head += data
    version, _, rest = head.partition(b" ")
    if not version.startswith(b"HTTP/") or not rest[:3].isdigit():
        raise CheckFailed("no HTTP answer")
    return int(rest[:3])


def _secured(sock: socket.socket, host: str, secure: bool, deadline: float) -> socket.socket:
    if not secure:
        return sock
    import ssl

    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        sock.settimeout(_left(deadline))
        return context.wrap_socket(sock, server_hostname=host)
    except BaseException:
        sock.close()
        raise


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise CheckFailed("no answer in time")
    return left
