"""The API of a cluster: requests, streams, and what their failures mean. All that knows the client library."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from types import TracebackType
from typing import Any, Self

import httpx2
import msgspec
from lightkube import ConfigError, KubeConfig
from lightkube.config.client_adapter import AsyncClient, ConnectionParams

from node.drivers.k8s.config import BadConfig, Kubeconfig
from node.drivers.k8s.credentials import Credentials, NoCredentials

TIMEOUT_S = 10.0
_ERROR_BYTES = 64 * 1024
_LINE_BYTES = 8 << 20
_TEXT_CHARS = 500
_UNKNOWN = 401
_RETIRED = 4
NO_CREDENTIALS = "NoCredentials"
"""Reason of a request that was never sent, since nobody would have known whose it is."""


class ApiError(Exception):
    """A request failed. `message` is one sentence without its full stop."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class Unreachable(ApiError):
    """No answer, or one that broke off."""


class Refused(ApiError):
    """The API answered with an error."""

    def __init__(self, status: int, reason: str, message: str, retry_after_s: float = 0.0) -> None:
        super().__init__(message)
        self.status = status  # of HTTP; 401 too where the credentials could not be had
        self.reason = reason  # of Kubernetes, such as AlreadyExists
        self.retry_after_s = retry_after_s

    @property
    def passes(self) -> bool:
        """Whether the same request may do better later."""
        return self.status == 429 or self.status >= 500


class Api:
    """One context. Raises BadConfig where it cannot be used at all."""

    def __init__(self, kubeconfig: Kubeconfig, context: str, timeout_s: float = TIMEOUT_S) -> None:
        self._kubeconfig = kubeconfig
        self._context = context
        self._timeout_s = timeout_s
        self._asking = asyncio.Lock()
        self._renewals = 0
        self._retired: list[httpx2.AsyncClient] = []
        self._credentials = Credentials(*kubeconfig.entries(context))
        self._certificate = ""
        self._client = self._made("", "")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for client in (self._client, *self._retired):
            await client.aclose()

    async def get(self, path: str, params: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Raises ApiError."""
        return await self._request("GET", path, params, None)

    async def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Raises ApiError."""
        return await self._request("POST", path, {"fieldValidation": "Strict"}, body)

    async def delete(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Raises ApiError."""
        return await self._request("DELETE", path, None, body)

    async def watch(
        self, path: str, params: Mapping[str, str], quiet_s: float
    ) -> AsyncGenerator[tuple[str, dict[str, Any]], None]:
        """OPENED, then events as (type, object), until the server ends the stream. Raises ApiError; Refused(410)
        where the version is too old.
        """
        rest = b""
        async with self._streamed(path, {**params, "watch": "true"}, quiet_s) as chunks:
            yield "OPENED", {}
            async for chunk in chunks:
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    if line.strip():
                        yield _event(line)
                if len(rest) > _LINE_BYTES:
                    raise Unreachable("The API sent an event without end")

    async def stream(self, path: str, params: Mapping[str, str], quiet_s: float) -> AsyncGenerator[bytes, None]:
        """The body, as it comes. Raises ApiError."""
        async with self._streamed(path, params, quiet_s) as chunks:
            async for chunk in chunks:
                yield chunk

    def _made(self, certificate: str, key: str) -> httpx2.AsyncClient:
        """A client that shows the certificate of its user, or this one. Raises BadConfig."""
        cluster, user = self._kubeconfig.entries(self._context)
        shown = {name: value for name, value in user.items() if name.startswith("client-")}
        if certificate:
            pair = {"client-certificate-data": certificate, "client-key-data": key}
            shown = {name: base64.b64encode(text.encode()).decode() for name, text in pair.items()}
        try:
            chosen = KubeConfig.from_dict(self._kubeconfig.with_user(self._context, shown)).get(self._context)
            if chosen is None:
                raise BadConfig(f"The kubeconfig has no context {self._context!r}.")
            self.server = chosen.cluster.server
            self.namespace = chosen.namespace
            proxy = str(cluster.get("proxy-url") or "") or None
            parameters = ConnectionParams(httpx2.Timeout(self._timeout_s), trust_env=False, proxy=proxy)
            return AsyncClient(chosen, parameters)
        except (ConfigError, KeyError, AssertionError, msgspec.ValidationError, ssl.SSLError, OSError) as error:
            said = " ".join(str(error).split()) or type(error).__name__
            raise BadConfig(
                f"Context {self._context!r} of the kubeconfig cannot be used: {said[:_TEXT_CHARS]}."
            ) from None
        except ValueError as error:
            raise BadConfig(f"Context {self._context!r} of the kubeconfig is malformed: {error}.") from None

    async def _headers(self) -> dict[str, str]:
        """Of the next request, by whose client it goes. Raises Refused."""
        async with self._asking:
            try:
                shown = await self._credentials.shown()
                if shown.certificate != self._certificate:
                    await self._use(self._made(shown.certificate, shown.key))
                    self._certificate = shown.certificate
            except (NoCredentials, BadConfig) as error:
                raise Refused(401, NO_CREDENTIALS, str(error).rstrip(".")) from None
        return {"Authorization": shown.authorization} if shown.authorization else {}

    async def _renew(self, renewals: int) -> None:
        """The API took a request for nobody's, after so many renewals: show what files and plugins have now. Raises
        Refused.
        """
        async with self._asking:
            if renewals != self._renewals:
                return  # another request has done so
            self._renewals += 1
            self._credentials.expire()
            with suppress(BadConfig):
                found = self._kubeconfig.again()
                if found.entries(self._context) != self._kubeconfig.entries(self._context):
                    kept, self._kubeconfig = self._kubeconfig, found
                    try:
                        await self._use(self._made("", ""))
                    except BadConfig:
                        self._kubeconfig = kept
                        raise
                    self._certificate = ""
                    self._credentials = Credentials(*found.entries(self._context))

    async def _use(self, client: httpx2.AsyncClient) -> None:
        self._retired.append(self._client)  # it may be in use
        self._client = client
        if len(self._retired) > _RETIRED:
            await self._retired.pop(0).aclose()

    async def _request(
        self, method: str, path: str, params: Mapping[str, str] | None, body: Mapping[str, Any] | None
    ) -> dict[str, Any]:
        content = json.dumps(body).encode() if body is not None else None
        kind = {"Content-Type": "application/json"} if body is not None else {}
        for again in (True, False):
            renewals, headers = self._renewals, {**await self._headers(), **kind}
            try:
                answer = await self._client.request(method, path, params=params, content=content, headers=headers)
            except Exception as error:
                raise _failure(error) from error
            if answer.status_code != _UNKNOWN or not again:
                break
            await self._renew(renewals)
        if answer.status_code >= 400:
            raise _refusal(answer.status_code, answer.headers, answer.content)
        return _object(answer.content)

    @asynccontextmanager
    async def _streamed(
        self, path: str, params: Mapping[str, str], quiet_s: float
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        timeout = httpx2.Timeout(self._timeout_s, read=quiet_s)
        async with AsyncExitStack() as stack:
            try:
                for again in (True, False):
                    renewals, headers = self._renewals, await self._headers()
                    opening = self._client.stream("GET", path, params=params, timeout=timeout, headers=headers)
                    answer = await stack.enter_async_context(opening)
                    if answer.status_code != _UNKNOWN or not again:
                        break
                    await self._renew(renewals)
                if answer.status_code >= 400:
                    raise _refusal(answer.status_code, answer.headers, (await answer.aread())[:_ERROR_BYTES])
                yield answer.aiter_bytes()
            except ApiError:
                raise
            except Exception as error:
                raise _failure(error) from error


def _failure(error: Exception) -> ApiError:
    """What an exception of the client library means; any other is raised again."""
    said = " ".join(str(error).split())[:_TEXT_CHARS] or type(error).__name__
    if isinstance(error, httpx2.TimeoutException):
        return Unreachable(f"The API did not answer in time ({type(error).__name__})")
    if isinstance(error, httpx2.TransportError):
        return Unreachable(f"The API cannot be reached: {said}")
    if isinstance(error, OSError):
        return Unreachable(f"The API cannot be reached: {said}")
    raise error


def _refusal(status: int, headers: Mapping[str, str], body: bytes) -> Refused:
    try:
        said = json.loads(body[:_ERROR_BYTES])
    except ValueError:
        said = None
    said = said if isinstance(said, dict) else {}
    message = str(said.get("message") or f"HTTP status {status}").strip().rstrip(".")
    details = said.get("details")
    after = headers.get("Retry-After") or (details.get("retryAfterSeconds") if isinstance(details, dict) else None)
    try:
        after_s = min(max(float(after or 0), 0.0), 86_400.0)
    except (TypeError, ValueError):
        after_s = 0.0
    return Refused(status, str(said.get("reason") or ""), message[:_TEXT_CHARS], after_s)


def _event(line: bytes) -> tuple[str, dict[str, Any]]:
    event = _object(line)
    found = event.get("object")
    found = found if isinstance(found, dict) else {}
    if event.get("type") == "ERROR":
        raise Refused(
            int(found.get("code") or 500),
            str(found.get("reason") or ""),
            str(found.get("message") or "")[:_TEXT_CHARS],
        )
    return str(event.get("type")), found


def _object(data: bytes) -> dict[str, Any]:
    try:
        found = json.loads(data)
    except ValueError:
        raise Unreachable("The API sent something that is not valid JSON") from None
    if not isinstance(found, dict):
        raise Unreachable("The API sent something that is no object")
    return found
