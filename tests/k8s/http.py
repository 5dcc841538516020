"""The HTTP side of the double."""

from __future__ import annotations

import re
import socket
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from tests.k8s.double import VERSION, Fault, written
from tests.k8s.schemas import flaw
from tests.k8s.store import Change, Thing, matches

if TYPE_CHECKING:
    from tests.k8s.double import Double

_PATH = re.compile(
    r"/(?:api/v1|apis/(?P<group>[^/]+)/v1(?:beta1)?)(?:/namespaces/(?P<namespace>[^/]+))?/(?P<resource>[a-z]+)"
    r"(?:/(?P<name>[^/]+))?(?:/(?P<sub>log))?"
)
_KINDS = {"jobs": "Job", "pods": "Pod", "nodes": "Node", "events": "Event"}
_BEAT_S = 0.5


class Cut(Exception):
    """The connection breaks here."""


def handler(double: Double) -> type[BaseHTTPRequestHandler]:
    return type("Bound", (Handler,), {"double": double})


class Handler(BaseHTTPRequestHandler):
    double: Double
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._serve("GET")

    def do_POST(self) -> None:
        self._serve("POST")

    def do_DELETE(self) -> None:
        self._serve("DELETE")

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Nothing."""

    def _serve(self, method: str) -> None:
        import json

        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault = self.double.fault(method, self.path)
        try:
            if fault is not None and fault.before and fault.after_lines < 0:
                self._fail(fault)
                return
            if not self.double.knows(self.headers.get("Authorization")):
                self._status(401, "Unauthorized", "Unauthorized")
                return
            self._route(method, json.loads(body or b"null"), fault)
        except (Cut, BrokenPipeError, ConnectionResetError):
            self._cut()

    def _fail(self, fault: Fault) -> None:
        if not fault.status:
            raise Cut
        self._status(fault.status, fault.reason, f"the double was told to answer {fault.status}", fault.headers)

    def _cut(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def _route(self, method: str, body: Any, fault: Fault | None) -> None:
        url = urlsplit(self.path)
        query = {key: values[-1] for key, values in parse_qs(url.query).items()}
        if url.path == "/version":
            self._json(200, {"gitVersion": VERSION})
            return
        found = _PATH.fullmatch(url.path)
        if found is None or (found["group"] or "batch") not in ("batch", "metrics.k8s.io"):
            self._status(404, "NotFound", "the server could not find the requested resource")
            return
        resource = found["resource"] if found["group"] != "metrics.k8s.io" else "usage"
        namespace, name = found["namespace"] or "", found["name"] or ""
        if found["sub"]:
            self._log(name, query, fault)
        elif method == "POST":
            self._create(resource, namespace, body, fault)
        elif method == "DELETE":
            self._delete(resource, namespace, name, body or {})
        elif name:
            thing = self.double.get(resource, namespace, name)
            self._json(200, thing) if thing is not None else self._absent(resource, name)
        elif query.get("watch") == "true":
            self._watch(resource, namespace, query, fault)
        else:
            self._list(resource, namespace, query)

    def _create(self, resource: str, namespace: str, thing: Thing, fault: Fault | None) -> None:
        double = self.double
        if wrong := flaw(resource, thing):
            self._status(400, "BadRequest", wrong)
            return
        name = thing["metadata"]["name"]
        with double.changed:
            if double.get(resource, namespace, name) is not None:
                self._status(409, "AlreadyExists", f'{resource} "{name}" already exists')
                return
            thing["metadata"]["namespace"] = namespace
            made = double.put(resource, thing)
        double.made(made)
        if fault is not None:
            self._fail(fault)
            return
        self._json(201, made)

    def _delete(self, resource: str, namespace: str, name: str, options: Thing) -> None:
        thing = self.double.get(resource, namespace, name)
        if thing is None:
            self._absent(resource, name)
            return
        if (options.get("preconditions") or {}).get("uid", thing["metadata"]["uid"]) != thing["metadata"]["uid"]:
            self._status(409, "Conflict", "the UID in the precondition does not match")
            return
        assert options.get("propagationPolicy") == "Foreground"
        self.double.removing(thing)
        self._json(200, {"kind": "Status", "status": "Success"})

    def _list(self, resource: str, namespace: str, query: dict[str, str]) -> None:
        double = self.double
        with double.changed:
            version = str(double.version)
            things = [
                thing
                for thing in double.all(resource, namespace)
                if matches(thing, query.get("labelSelector", ""), query.get("fieldSelector", ""))
            ]
        begin, limit = int(query.get("continue") or 0), int(query.get("limit") or len(things) or 1)
        metadata: Thing = {"resourceVersion": version}
        if begin + limit < len(things):
            metadata["continue"] = str(begin + limit)
        kind = f"{_KINDS.get(resource, 'NodeMetrics')}List"
        self._json(200, {"kind": kind, "metadata": metadata, "items": things[begin : begin + limit]})

    def _watch(self, resource: str, namespace: str, query: dict[str, str], fault: Fault | None) -> None:
        double = self.double
        version = int(query["resourceVersion"])
        lines_left = fault.after_lines if fault is not None else -1
        self._begin_stream()
        with double.changed:
            double.watching += 1
            double.changed.notify_all()
        try:
            while True:
                for change in self._changes(resource, namespace, query, version):
                    if lines_left == 0:
                        raise Cut
                    lines_left -= 1
                    self._chunk(written({"type": change.kind, "object": change.thing}) + b"\n")
                    version = change.version
                    if change.kind == "ERROR":
                        self._chunk(b"")
                        return
                if lines_left == 0:
                    raise Cut
        finally:
            with double.changed:
                double.watching -= 1

    def _changes(self, resource: str, namespace: str, query: dict[str, str], after: int) -> list[Change]:
        """Those that the watch is to be told of, as soon as there are some."""
        double = self.double
        with double.changed:
            if after < double.floor:
                gone = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old resource version"}
                return [Change(after, resource, "ERROR", gone)]
            found = [
                change
                for change in double.history
                if change.version > after
                and change.resource == resource
                and (
                    change.kind == "BOOKMARK"
                    or (
                        namespace in ("", change.thing["metadata"].get("namespace", ""))
                        and matches(change.thing, query.get("labelSelector", ""), query.get("fieldSelector", ""))
                    )
                )
            ]
            if not found:
                double.changed.wait(_BEAT_S)
            return found

    def _log(self, pod: str, query: dict[str, str], fault: Fault | None) -> None:
        double = self.double
        log = double.logs.get(pod)
        if log is None:
            self._absent("pods", pod)
            return
        follow, since = query.get("follow") == "true", query.get("sinceTime", "")
        lines_left = fault.after_lines if fault is not None else -1
        self._begin_stream()
        sent = 0
        while True:
            with double.changed:
                lines, over = log.lines[sent:], log.closed or not follow
                if not lines and not over:
                    double.changed.wait(_BEAT_S)
            sent += len(lines)
            for instant, line in lines:
                if instant < since.rstrip("Z"):
                    continue
                if lines_left == 0:
                    self._chunk(f"{instant} {line}"[: len(instant) + 3].encode())
                    raise Cut
                lines_left -= 1
                self._chunk(f"{instant} {line}\n".encode())
            if over and not lines:
                self._chunk(b"")
                return

    def _begin_stream(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.flush()

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def _absent(self, resource: str, name: str) -> None:
        self._status(404, "NotFound", f'{resource} "{name}" not found')

    def _status(self, code: int, reason: str, message: str, headers: dict[str, str] | None = None) -> None:
        status = {"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": message}
        self._json(code, status, headers)

    def _json(self, code: int, thing: object, headers: dict[str, str] | None = None) -> None:
        data = written(thing)
        self.send_response(code)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
