"""Runs one container in the foreground and ends as it does; when this ends in order, the container is gone."""

from __future__ import annotations

import errno
import os
import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from math import inf
from pathlib import Path

import msgspec

from node.drivers.container import ends as container_ends
from node.drivers.container.attached import Attached, Deserted
from node.drivers.container.engine import Engine, EngineError, State, container_name
from node.drivers.container.run import UPDATE_NAME, Cannot, Order, run_arguments
from node.drivers.container.usage import Usage, oom_kills
from node.drivers.kit import Desk, Stopped, raise_on_term
from node.drivers.refusals import meaning

# Exit codes of `run` that are the engine's own, unless the container began and ended with one of them.
_ENGINE_FAILED = 125
_NOT_BEGUN = (125, 126, 127)
_KILLED = 137
# What images call the kinds of machines.
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}
# Images that were made on a node: no registry has them.
_OWN = "localhost/"
_REMOVE_S = 30.0
_RETRY_S = 1.0
# Of the kill timeout, kept for the engine to kill and remove what did not end by itself.
_REMOVAL_S = 2.0


class Job:
    def __init__(self, desk: Desk, order: Order) -> None:
        self._desk = desk
        self._order = order
        self._engine = Engine(order.engine, order.program, order.engine_environ)
        self._name = container_name(desk.task, desk.fence)
        self._attached: Attached | None = None
        self._begun = False  # a client may have been started
        self._usage = Usage(self._engine.name, lambda: self._engine.state(self._name))
        self._stopped = False

    def run(self) -> int:
        """The task's exit code; its verdict is told."""
        oom_kills_before = oom_kills()
        try:
            code = self._run_to_its_end()
            cause, error = self._judge(code, oom_kills_before)
        except Cannot as refusal:
            _ignore_term()
            cause, error, code = refusal.cause, refusal.sentence, _ENGINE_FAILED
            self._say(error)
        except EngineError as trouble:
            _ignore_term()
            cause, error, code = "infrastructure", _away(str(trouble)), _ENGINE_FAILED
            self._say(error)
        left = not self._remove()
        self._desk.verdict(cause, error, document=self._document(), left=left)
        return code

    def _run_to_its_end(self) -> int:
        """Its exit code, also after a stop. Raises Cannot and EngineError."""
        try:
            self._provide_image()
            code = self._run()
            _ignore_term()
        except (Stopped, Deserted) as call:
            _ignore_term()
            self._stopped = True
            code = self._stop(deserted=isinstance(call, Deserted))
        return code

    def _provide_image(self) -> None:
        """Raises Cannot and EngineError."""
        image, pull = self._order.container.image, self._order.container.pull
        if pull != "always" and self._has(image):
            return
        if image.startswith(_OWN):
            raise Cannot("not_found", f"Image {image} is not on this node. Build or import it there.")
        if pull == "never":
            raise Cannot("not_found", f"Image {image} is not on this node. Pull it there, or set pull to missing.")
        self._desk.progress(0, message=f"pulling {image}")
        reply = self._engine.call("pull", "--quiet", image, timeout_s=None)
        if reply.code:
            cause, error = meaning(reply.error, f"Image {image} cannot be pulled")
            raise Cannot(cause or "infrastructure", error)

    def _has(self, image: str) -> bool:
        reply = self._engine.call("image", "inspect", "--format", "{{.Id}}", image)
        if reply.code and meaning(reply.error, "")[0] == "infrastructure":
            raise EngineError(reply.error)
        return reply.code == 0

    def _run(self) -> int:
        order = self._order
        words, environ = run_arguments(order, self._desk.task, self._desk.fence, self._name, self._engine.dialect)
        self._begun = True
        try:
            self._attached = Attached(order.program, words, {**order.engine_environ, **environ})
        except OSError as error:
            self._begun = False
            if error.errno == errno.E2BIG:
                raise Cannot("validation", "Arguments and variables are too large. Pass them in a file.") from None
            raise EngineError(f"{order.program} cannot be run: {error.strerror}") from None
        code = self._attached.wait(inf, self._usage.look)
        assert code is not None
        return code

    def _stop(self, deserted: bool) -> int:
        """End it within the kill timeout by TERM, which the supervisor has sent to the client too, then by KILL."""
        if self._attached is None:
            return _ENGINE_FAILED
        kill_timeout_s = self._order.kill_timeout_s
        until_s = time.monotonic() + kill_timeout_s - min(_REMOVAL_S, kill_timeout_s / 2)
        if deserted:
            self._attached.terminate()
        code = self._attached.wait(until_s)
        if code is not None:
            return code
        self._engine.remove(self._name)
        code = self._attached.wait(time.monotonic() + _REMOVAL_S)
        if code is None:
            self._attached.kill()
        return _KILLED

    def _judge(self, code: int, oom_kills_before: int) -> tuple[str, str]:
        """The cause of the end and a sentence; nothing where the exit code says it all. Raises EngineError."""
        if code == 0 or self._attached is None or self._stopped or code in self._order.success_codes:
            return "", ""
        said = self._attached.said
        if code == _ENGINE_FAILED and (error := container_ends.name_taken(said, self._name)):
            self._attached = None  # so that nobody's container is removed
            self._begun = False
            return "cannot_start", error
        state = self._engine.state(self._name)
        if state is None and code not in _NOT_BEGUN:
            return container_ends.taken_away() if code > _NOT_BEGUN[-1] else ("", "")
        if state is None or not state.started:
            what = f"Image {self._order.container.image} cannot be run"
            cause, error = meaning(said, what)
            if not cause:
                self._engine.version()
            return cause, error
        return self._judge_state(code, state, oom_kills() > oom_kills_before)

    def _judge_state(self, code: int, state: State, kernel_killed: bool) -> tuple[str, str]:
        if state.out_of_memory or (code == _KILLED and kernel_killed):
            limit = self._order.container.memory_bytes or self._order.memory_bytes
            within = f" within its limit of {limit} bytes" if limit else ""
            return "oom", f"The kernel killed the container, since memory ran out{within}. Give it more."
        lost = code == _ENGINE_FAILED and state.exit_code != _ENGINE_FAILED
        if lost or state.running:
            return "infrastructure", _away(self._attached.said if self._attached is not None else "")
        if self._attached is not None and (error := self._no_program(self._attached.all_of_it)):
            return "validation", error
        return container_ends.by_signal(code)

    def _no_program(self, said: str) -> str:
        error = container_ends.no_program(said, "", "")
        if not error:
            return ""
        reply = self._engine.call("image", "inspect", "--format", "{{.Architecture}}", self._order.container.image)
        built_for = reply.out.strip() if reply.code == 0 else ""
        machine = os.uname().machine
        return container_ends.no_program(said, built_for, _ARCHITECTURES.get(machine, machine))

    def _remove(self) -> bool:
        """Whether nothing is left. What an engine that is away keeps is for the executor to look after."""
        if self._attached is None:
            return not self._begun  # a stop in its start: its executor looks when the client has ended, too
        until_s = time.monotonic() + (0 if self._stopped else _REMOVE_S)
        while True:
            try:
                self._engine.remove(self._name)
            except EngineError as trouble:
                if time.monotonic() >= until_s:
                    self._say(f"The container is not removed: {trouble}.")
                    return False
                time.sleep(_RETRY_S)  # an engine that is away tells nobody when it is back
            else:
                return True

    def _document(self) -> dict[str, object] | None:
        used = self._usage.document()
        return {"container": {"engine": self._engine.name, **used}} if used else None

    def _say(self, sentence: str) -> None:
        with suppress(BrokenPipeError):
            os.write(2, sentence.encode("utf-8", "replace") + b"\n")


def _ignore_term() -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)


def _away(trouble: str) -> str:
    why = trouble.rstrip(".") or "its client ended under the container"
    return f"The container engine failed: {why}. See what ails it; it is tried again later."


def _update_file(environ: Mapping[str, str]) -> str:
    """The file for what a task of a workflow adds to the context, there and open to the container's user.

    The folder that it lies in is closed to all others. Empty when there is none, or no engine could be told of it.
    """
    path = environ.get(UPDATE_NAME, "")
    if not path or any(char in path for char in ',:"'):
        return ""
    with suppress(OSError):
        Path(path).touch()
        Path(path).chmod(0o666)
        return path
    return ""


def main() -> int:
    raise_on_term()
    desk = Desk(os.environ)
    order = msgspec.convert(desk.order(), Order)
    return Job(desk, msgspec.structs.replace(order, update=_update_file(os.environ))).run()
