"""A Kubernetes API over real HTTP: what an API server does for Jobs, pods, nodes and events, and how it fails.

The test plays the Job controller and kubelet by `schedule`, `run`, `say`, `exit`; or `behave` does, for each Job.

It is our own since kmock, which comes closest, has no versions to watch from, so neither expiries nor bookmarks, no
selectors, no schemas and no logs of containers.
"""

from __future__ import annotations

import itertools
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml

from tests.k8s.store import Store, Thing, now

TOKEN = "token-of-the-test"
VERSION = "v1.34.2+k3s1"


@dataclass
class Fault:
    """What the next requests that match get in the place of an answer."""

    method: str
    part: str  # of the path and query
    status: int = 0  # 0 = the connection is cut
    headers: dict[str, str] = field(default_factory=dict)
    reason: str = ""
    times: int = 1
    after_lines: int = -1  # of a stream, cut then; -1 = at once
    before: bool = True  # False: it is done first, and its answer is lost


@dataclass
class Log:
    """What a container wrote, with the instants."""

    lines: list[tuple[str, str]] = field(default_factory=list)
    closed: bool = False


class Double(Store):
    def __init__(self) -> None:
        super().__init__()
        self.logs: dict[str, Log] = {}
        self.faults: list[Fault] = []
        self.requests: list[str] = []
        self.token = TOKEN
        self.behave: Callable[[Thing], None] | None = None
        """Called in a thread of its own for each Job that was made."""
        self.watching = 0
        """Watches that are open."""
        self._seconds = itertools.count()
        self._server: ThreadingHTTPServer | None = None
        self._tls: ssl.SSLContext | None = None

    # the server

    def start(self, tls: ssl.SSLContext | None = None) -> None:
        """With `tls` over HTTPS, where a client certificate stands for the token if it asks for one."""
        from tests.k8s.http import handler

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler(self))
        self._server.daemon_threads = True
        self._tls = tls
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        assert self._server is not None
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"http{'s' if self._tls else ''}://127.0.0.1:{self._server.server_address[1]}"

    def knows(self, authorization: str | None) -> bool:
        """Whether who sends this is somebody."""
        certified = self._tls is not None and self._tls.verify_mode == ssl.CERT_REQUIRED
        return certified or authorization == f"Bearer {self.token}"

    def kubeconfig(
        self, path: Path, context: str = "home", cluster: dict[str, Any] | None = None, **user: Any
    ) -> Path:
        """A file that leads here; `cluster` and `user` have what else is in those, such as certificates."""
        user = user or {"token": self.token}
        place = {"cluster": f"{context}-cluster", "user": f"{context}-user", "namespace": "work"}
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": context,
            "clusters": [{"name": f"{context}-cluster", "cluster": {"server": self.url, **(cluster or {})}}],
            "users": [{"name": f"{context}-user", "user": user}],
            "contexts": [{"name": context, "context": place}],
        }
        path.write_text(yaml.safe_dump(document))
        return path

    def fail(self, method: str, part: str, status: int = 0, **more: Any) -> Fault:
        fault = Fault(method, part, status, **more)
        with self.changed:
            self.faults.append(fault)
        return fault

    def fault(self, method: str, path: str) -> Fault | None:
        """The one that this request meets."""
        with self.changed:
            self.requests.append(f"{method} {path}")
            found = next((each for each in self.faults if each.method == method and each.part in path), None)
            if found is not None:
                found.times -= 1
                if found.times == 0:
                    self.faults.remove(found)
            self.changed.notify_all()
            return found

    # the Job controller and the kubelet

    def made(self, job: Thing) -> None:
        if self.behave is not None:
            threading.Thread(target=self.behave, args=(job,), daemon=True).start()

    def job(self) -> Thing:
        """The Job, once it is there."""
        return self.wait(lambda: next(iter(self.all("jobs")), None))

    def schedule(self, job: Thing, node: str = "node-a", **status: Any) -> str:
        """Make its pod; returns the pod's name."""
        name = f"{job['metadata']['name']}-x7k2p"
        template = job["spec"]["template"]
        pod = {
            "metadata": {
                "name": name,
                "namespace": job["metadata"]["namespace"],
                "labels": {**template["metadata"]["labels"], "job-name": job["metadata"]["name"]},
            },
            "spec": {**template["spec"], **({"nodeName": node} if node else {})},
            "status": {"phase": "Pending", **status},
        }
        self.logs[name] = Log()
        self.put("pods", pod)
        return name

    def state(self, pod: str, phase: str, state: Thing, **status: Any) -> None:
        """Set what the kubelet says of the container."""

        def edit(thing: Thing) -> None:
            image = thing["spec"]["containers"][0]["image"]
            container = {
                "name": "task", "image": image, "imageID": f"{image}@sha256:1", "ready": False, "restartCount": 0,
                "state": state,
            }  # fmt: skip
            thing["status"] = {**thing["status"], "phase": phase, "containerStatuses": [container], **status}

        self.edit("pods", self.place(pod), pod, edit)

    def run(self, pod: str) -> None:
        self.state(pod, "Running", {"running": {"startedAt": now()}})

    def waiting(self, pod: str, reason: str, message: str = "") -> None:
        self.state(pod, "Pending", {"waiting": {"reason": reason, "message": message}})

    def say(self, pod: str, *lines: str, instant: str = "") -> None:
        """Lines of one instant, which differs from all before unless it is given."""
        with self.changed:
            number = next(self._seconds)
            at = instant or f"2026-01-01T00:{number // 60:02}:{number % 60:02}.5Z"
            self.logs[pod].lines += [(at, line) for line in lines]
            self.changed.notify_all()

    def exit(self, pod: str, code: int, reason: str = "", **status: Any) -> None:
        """The container ends, and the Job with it."""
        self.close_log(pod)
        terminated = {
            "exitCode": code, "reason": reason or ("Error" if code else "Completed"), "startedAt": now(),
            "finishedAt": now(),
        }  # fmt: skip
        self.state(pod, "Failed" if code else "Succeeded", {"terminated": terminated}, **status)
        job = pod.rpartition("-")[0]
        if self.get("jobs", self.place(pod), job) is not None:
            self.finish(
                self.place(pod), job, "Failed" if code else "Complete", "BackoffLimitExceeded" if code else ""
            )

    def close_log(self, pod: str) -> None:
        with self.changed:
            self.logs[pod].closed = True
            self.changed.notify_all()

    def finish(self, namespace: str, job: str, kind: str, reason: str = "") -> None:
        condition = {"type": kind, "status": "True", "reason": reason, "message": "by the double"}
        self.edit("jobs", namespace, job, lambda thing: thing.update(status={"conditions": [condition]}))

    def place(self, pod: str) -> str:
        """The namespace of a pod."""
        return next(namespace for resource, namespace, name in self.things if (resource, name) == ("pods", pod))

    def removing(self, job: Thing) -> None:
        """It was deleted in the foreground: pods get their TERM, those of no node go at once, then it goes."""
        name, namespace = job["metadata"]["name"], job["metadata"]["namespace"]
        for pod in self.all("pods", namespace):
            if pod["metadata"]["labels"].get("job-name") == name:
                self.edit("pods", namespace, pod["metadata"]["name"], _mark_deleted)
                if not pod["spec"].get("nodeName"):
                    self.delete("pods", namespace, pod["metadata"]["name"])
        self.edit("jobs", namespace, name, _mark_deleted)
        if not any(pod["metadata"]["labels"].get("job-name") == name for pod in self.all("pods", namespace)):
            self.delete("jobs", namespace, name)

    def gone(self, pod: str, code: int = 143) -> None:
        """A pod that was told to end did."""
        namespace = self.place(pod)
        self.close_log(pod)
        self.state(pod, "Failed", {"terminated": {"exitCode": code, "reason": "Error"}})
        self.delete("pods", namespace, pod)
        self.delete("jobs", namespace, pod.rpartition("-")[0])

    def add_node(self, name: str, *, ready: bool = True, cpu: str = "4", memory: str = "8Gi", **more: Any) -> None:
        conditions = [{"type": "Ready", "status": "True" if ready else "False"}]
        amounts = {"cpu": cpu, "memory": memory, **more}
        status = {"conditions": conditions, "allocatable": amounts, "capacity": amounts}
        self.put("nodes", {"metadata": {"name": name}, "spec": {}, "status": status})

    def count(self, text: str) -> int:
        """Requests so far that begin with `text`."""
        with self.changed:
            return sum(request.startswith(text) for request in self.requests)


def _mark_deleted(thing: Thing) -> None:
    thing["metadata"].setdefault("deletionTimestamp", now())


def echo(double: Double, lines: Iterable[str] = ("hello",), code: int = 0) -> Callable[[Thing], None]:
    """A behaviour: every Job runs at once, says this and ends so."""

    def behave(job: Thing) -> None:
        pod = double.schedule(job)
        double.run(pod)
        double.say(pod, *lines)
        double.exit(pod, code)

    return behave


def soon(look: Callable[[], object], timeout_s: float = 60.0) -> None:
    """Wait for something that the double does not tell of."""
    until_s = time.monotonic() + timeout_s
    while not look():
        assert time.monotonic() < until_s, "it never came"
        time.sleep(0.01)


def written(thing: object) -> bytes:
    return json.dumps(thing).encode()
