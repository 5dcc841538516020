"""Who a context's user is to the API: a token, a file or plugin that has one, a name and password."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import signal
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

_GROUP = "client.authentication.k8s.io/"
VERSIONS = (f"{_GROUP}v1", f"{_GROUP}v1beta1")
_INFO = "KUBERNETES_EXEC_INFO"
_PLUGIN_S = 60.0
# Before a token expires by its own word: clocks differ.
_SKEW = timedelta(seconds=15)
_ANSWER_BYTES = 1 << 20
_ERROR_BYTES = 8 << 10
_TEXT_CHARS = 300
_CLUSTER = ("server", "tls-server-name", "insecure-skip-tls-verify", "certificate-authority-data", "proxy-url")
_WORDS = re.compile(r"[\x20-\x7e]*")


class NoCredentials(Exception):
    """What was tried, and what to do; two sentences, without the last full stop."""


@dataclass(frozen=True, slots=True)
class Shown:
    """What a request shows."""

    authorization: str = ""  # header; empty = none
    certificate: str = ""  # PEM of a plugin's
    key: str = ""
    until: datetime | None = None


class Credentials:
    """Of one user. `user` and `cluster` are as in the kubeconfig, with absolute paths."""

    def __init__(self, cluster: Mapping[str, Any], user: Mapping[str, Any]) -> None:
        self._cluster = cluster
        self._user = user
        self._kept: Shown | None = None

    async def shown(self) -> Shown:
        """What is good by now: a plugin is asked when what it gave has expired. Raises NoCredentials."""
        kept = self._kept
        if kept is None or (kept.until is not None and datetime.now(UTC) >= kept.until - _SKEW):
            kept = await self._had()
            if not _WORDS.fullmatch(kept.authorization):
                raise NoCredentials("Its token has characters that no token has. Correct it in the kubeconfig")
            self._kept = kept
        return kept

    def expire(self) -> None:
        """The API did not take it: files and plugins are asked again."""
        self._kept = None

    async def _had(self) -> Shown:
        user = self._user
        if path := user.get("tokenFile"):
            return Shown(f"Bearer {_token_of(str(path))}")
        if token := user.get("token"):
            return Shown(f"Bearer {token}")
        if isinstance(plugin := user.get("exec"), dict):
            return await _asked(plugin, self._cluster)
        if user.get("username") and user.get("password"):
            words = f"{user['username']}:{user['password']}".encode()
            return Shown(f"Basic {base64.b64encode(words).decode()}")
        if "auth-provider" in user:
            raise NoCredentials(
                "Its user has an auth-provider, which Kubernetes gave up. Write the context anew, with a plugin"
            )
        return Shown()


def _token_of(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise NoCredentials(
            f"Token file {path} cannot be read: {why}. Correct tokenFile in the kubeconfig"
        ) from None


async def _asked(plugin: Mapping[str, Any], cluster: Mapping[str, Any]) -> Shown:
    """What a plugin says. Raises NoCredentials."""
    version, command = str(plugin.get("apiVersion") or ""), str(plugin.get("command") or "")
    if version not in VERSIONS:
        raise NoCredentials(
            f"Plugin {command} is to speak {version[:100] or 'no version'}, not {' or '.join(VERSIONS)}. "
            "Write the context anew with the cluster's own tool"
        )
    if plugin.get("interactiveMode") == "Always":
        raise NoCredentials(
            f"Plugin {command} wants a terminal to log in at, and a node has none. Use another user"
        )
    answer = await _run(command, plugin, version, cluster)
    try:
        said = json.loads(answer)
        status = said["status"]
        if said.get("apiVersion", version) != version:
            raise ValueError(f"it speaks {said['apiVersion']}, not {version}")
        return _understood(status)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        why = f"has no {error}" if isinstance(error, KeyError) else str(error)[:_TEXT_CHARS]
        raise NoCredentials(
            f"Plugin {command} gave an answer that is no ExecCredential: {why}. Run it by hand on this node"
        ) from None


def _understood(status: Mapping[str, Any]) -> Shown:
    """Raises ValueError, KeyError, TypeError or AttributeError."""
    token = status.get("token") or ""
    certificate, key = status.get("clientCertificateData") or "", status.get("clientKeyData") or ""
    if not token and not (certificate and key):
        raise ValueError("it has neither a token nor a certificate with its key")
    until = None
    if expires := status.get("expirationTimestamp"):
        until = datetime.fromisoformat(str(expires))
        until = until if until.tzinfo is not None else until.replace(tzinfo=UTC)
    return Shown(f"Bearer {token}" if token else "", str(certificate), str(key), until)


async def _run(command: str, plugin: Mapping[str, Any], version: str, cluster: Mapping[str, Any]) -> bytes:
    """What it wrote to stdout. Raises NoCredentials."""
    words = [str(word) for word in plugin.get("args") or ()]
    given = {str(each["name"]): str(each["value"]) for each in plugin.get("env") or ()}
    environ = {**os.environ, **given, _INFO: json.dumps(_info(version, plugin, cluster))}
    pipe, null = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
    loop = asyncio.get_running_loop()
    start = asyncio.ensure_future(
        loop.subprocess_exec(
            _Said, command, *words, env=environ, stdin=null, stdout=pipe, stderr=pipe, start_new_session=True
        )
    )
    try:
        # A start that is broken off would wait for whoever holds its pipes.
        process, said = await asyncio.shield(start)
    except asyncio.CancelledError:
        with suppress(OSError, ValueError):
            await _end(*await start)
        raise
    except (OSError, ValueError) as error:
        raise _not_there(command, plugin, error, environ.get("PATH", "")) from None
    try:
        async with asyncio.timeout(_PLUGIN_S):
            await said.enough.wait()
    except TimeoutError:
        raise NoCredentials(
            f"Plugin {command} gave no answer in {_PLUGIN_S:g} s. Run it by hand on this node"
        ) from None
    finally:
        await _end(process, said)
    if len(said.out) > _ANSWER_BYTES:
        raise NoCredentials(f"Plugin {command} wrote more than {_ANSWER_BYTES} bytes. Run it by hand on this node")
    if code := process.get_returncode():
        why = " ".join(said.err.decode("utf-8", "replace").split())[-_TEXT_CHARS:] or "it says nothing"
        raise NoCredentials(
            f"Plugin {command} failed with exit code {code}: {why.rstrip('.')}. "
            "Log in again by its own means, as the daemon's user on this node"
        )
    return said.out


class _Said(asyncio.SubprocessProtocol):
    """What a plugin writes: no more of stdout than an answer may have, and the end of stderr."""

    def __init__(self) -> None:
        self.out = b""
        self.err = b""
        self.enough = asyncio.Event()
        self.ended = asyncio.Event()  # it, and whoever else could write there

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        if fd != 1:
            self.err = (self.err + data)[-_ERROR_BYTES:]
        elif not self.enough.is_set():
            self.out += data
            if len(self.out) > _ANSWER_BYTES:
                self.enough.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended.set()
        self.enough.set()


async def _end(process: asyncio.SubprocessTransport, said: _Said) -> None:
    """With all that it began, unless it ended in order; what left its session keeps nobody waiting."""
    if not said.ended.is_set():
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.get_pid(), signal.SIGKILL)
        for fd in (1, 2):
            if (end := process.get_pipe_transport(fd)) is not None:
                end.close()
        await said.ended.wait()
    process.close()


def _not_there(command: str, plugin: Mapping[str, Any], error: Exception, search: str) -> NoCredentials:
    hint = " ".join(str(plugin.get("installHint") or "").split())[:_TEXT_CHARS].rstrip(".")
    if isinstance(error, FileNotFoundError):
        where = "" if "/" in command else f" in the daemon's PATH ({search[:_TEXT_CHARS]})"
        return NoCredentials(f"Plugin {command} is not on this node{where}. {hint or 'Install it there'}")
    why = error.strerror if isinstance(error, OSError) else str(error)
    return NoCredentials(f"Plugin {command} cannot be run: {why}. {hint or 'Correct it on this node'}")


def _info(version: str, plugin: Mapping[str, Any], cluster: Mapping[str, Any]) -> dict[str, Any]:
    """What a plugin is told of who asks."""
    spec: dict[str, Any] = {"interactive": False}
    if plugin.get("provideClusterInfo"):
        told = {key: cluster[key] for key in _CLUSTER if key in cluster}
        path = cluster.get("certificate-authority")
        if path and "certificate-authority-data" not in told:
            with suppress(OSError):
                told["certificate-authority-data"] = base64.b64encode(Path(str(path)).read_bytes()).decode()
        for each in cluster.get("extensions") or ():
            if each.get("name") == f"{_GROUP}exec":
                told["config"] = each.get("extension")
        spec["cluster"] = told
    return {"apiVersion": version, "kind": "ExecCredential", "spec": spec}
