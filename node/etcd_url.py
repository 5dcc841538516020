"""Where an external etcd is, as users write it: etcd://host:2379[,host:2379…][?prefix=…&ca=…&cert=…&key=…&lease=…]."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlsplit

SCHEME = "etcd://"
DEFAULT_PREFIX = "/cortex/"
_ENDPOINTS_LIMIT = 16
_PREFIX = re.compile(r"^/[A-Za-z0-9._/-]{0,198}/$|^/$")
_LEASE_S = re.compile(r"^(\d{1,2})s?$")


@dataclass(frozen=True, slots=True)
class EtcdUrl:
    """Paths name PEM files; with any of them, or with tls=on, connections are encrypted."""

    endpoints: tuple[str, ...]
    prefix: str = DEFAULT_PREFIX
    ca: str = ""
    cert: str = ""
    key: str = ""
    tls: bool = False
    lease_s: int = 3

    @staticmethod
    def parse(text: str) -> EtcdUrl:
        """Raises ValueError; its message says what is wrong, as the end of a sentence."""
        if not text.startswith(SCHEME):
            raise ValueError("it is neither raftos nor etcd://host:port")
        parts = urlsplit(text)
        if parts.path not in ("", "/") or parts.fragment:
            raise ValueError("only host:port,… and ?options may follow etcd://")
        endpoints = tuple(parts.netloc.split(","))
        if len(endpoints) > _ENDPOINTS_LIMIT:
            raise ValueError(f"it names more than {_ENDPOINTS_LIMIT} hosts")
        for endpoint in endpoints:
            host, colon, port = endpoint.rpartition(":")
            if not colon or not host or not port.isdecimal() or not 0 < int(port) < 65536:
                raise ValueError(f"{endpoint!r} is not host:port")
        options = dict(_options(parts.query))
        return EtcdUrl(endpoints, **_converted(options))


def _options(query: str) -> list[tuple[str, str]]:
    try:
        return parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query), max_num_fields=8)
    except ValueError:
        raise ValueError(f"{query!r} is not name=value&…") from None


def _converted(options: dict[str, str]) -> dict[str, Any]:
    known = ("prefix", "ca", "cert", "key", "tls", "lease")
    for name, value in options.items():
        if name not in known:
            raise ValueError(f"there is no option {name!r}; known are {', '.join(known)}")
        if not value:
            raise ValueError(f"option {name} is empty")
    if ("cert" in options) != ("key" in options):
        raise ValueError("cert and key belong together")
    made: dict[str, Any] = {name: options[name] for name in ("ca", "cert", "key") if name in options}
    if "prefix" in options:
        if not _PREFIX.match(options["prefix"]):
            raise ValueError("a prefix begins and ends with / and has letters, digits, '.', '_', '-' between")
        made["prefix"] = options["prefix"]
    if options.get("tls", "on") not in ("on", "off"):
        raise ValueError("tls is on or off")
    made["tls"] = bool(made.keys() & {"ca", "cert"}) or options.get("tls") == "on"
    if made["tls"] and options.get("tls") == "off":
        raise ValueError("tls=off contradicts ca, cert and key")
    if "lease" in options:
        lease = _LEASE_S.match(options["lease"])
        if lease is None or not 2 <= int(lease[1]) <= 60:
            raise ValueError("lease is 2s to 60s")
        made["lease_s"] = int(lease[1])
    return made
