"""The host of a data folder's pool: hands tasks from their drivers to workers, and brings workers back that died.

It is a child of no supervisor and lives on when its daemon is restarted, as its drivers do. It goes when it was
asked to and its tasks have ended, when nobody needed it for long, and when its folder is gone.
"""

from __future__ import annotations

import fcntl
import os
import resource
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path

from node.pool import settings as pool_settings
from node.pool import wire
from node.pool.desk import Desk
from node.pool.loop import Loop
from node.pool.place import Place
from node.pool.settings import Settings

_CHECK_S = 1.0
_LATE_S = 5.0
_LOCK_WAIT_S = 20.0
_WAITING_LIMIT = 10_000
_LOG_LIMIT_BYTES = 1024 * 1024
_TERMINATED = 128 + signal.SIGTERM
_CANCELLED = "Handler {} was cancelled before it began."
_SHORT_S = 0.1
_COMPLAIN_S = 60.0
_TRIES = 3
_OWN_VARIABLES = ("CORTEX_", "LD_")


class Host:
    def __init__(
        self, folder: Path, settings: Settings, listener: socket.socket, lock: int, env: Mapping[str, str]
    ):
        self._folder = folder
        self._settings = settings
        self._listener: socket.socket | None = listener
        self._lock = lock
        self.loop = Loop()
        self._places = [Place(self.loop, settings, env, self._pump, self._returned) for _ in range(settings.size)]
        self._waiting: deque[Desk] = deque()
        self._asking: list[socket.socket] = []
        self._quitting = False
        self._busy_s = self._checked_s = time.monotonic()
        self._turned_away = 0
        self._complain_s = 0.0

    def run(self) -> None:
        """Serve until it is to go and nothing runs any more."""
        self._listen()
        for place in self._places:
            place.start()
        self.loop.later(_CHECK_S, self._check)
        self.loop.run()
        for place in self._places:
            place.kill()
        _reap(())

    def retire(self) -> None:
        """Take no more connections and make room for the next host; what came before is done."""
        if self._listener is None:
            return
        self.loop.forget(self._listener.fileno())
        self._listener.close()
        self._listener = None
        with suppress(OSError):
            (self._folder / wire.SOCKET).unlink()
        os.close(self._lock)
        self._pump()

    def quit(self) -> None:
        """retire(), and ask what runs to end within stop_timeout_s."""
        self.retire()
        self._quitting = True
        for desk in self._waiting:
            desk.fail("infrastructure", "The pool of Python workers of its node was stopped.")
        self._waiting.clear()
        for place in self._places:
            place.close(self._settings.stop_timeout_s)
        self._pump()

    def _accept(self) -> None:
        assert self._listener is not None
        try:
            sock, _ = self._listener.accept()
        except (BlockingIOError, ConnectionError):
            return
        except OSError as error:
            self._short(error)
            return
        sock.setblocking(False)
        inbox = wire.Inbox()

        def hear() -> None:
            try:
                alive = inbox.receive(sock)
                found = next(inbox.frames(), None)
            except BlockingIOError:
                return
            except (OSError, wire.Broken):
                alive, found = False, None
            if found is None and alive:
                return
            self.loop.forget(sock.fileno())
            if found is None or not self._open(sock, found, inbox):
                for fd in inbox.take_fds():
                    os.close(fd)
                sock.close()

        self.loop.read(sock.fileno(), hear)

    def _short(self, error: OSError) -> None:
        """No descriptor or memory for who waits at the door, who would be announced again at once: look later."""
        assert self._listener is not None
        self.loop.forget(self._listener.fileno())
        self.loop.later(_SHORT_S, self._listen)
        self._turned_away += 1
        now_s = time.monotonic()
        if now_s >= self._complain_s:
            self._complain_s = now_s + _COMPLAIN_S
            _say(f"drivers wait: {error.strerror} ({self._turned_away} so far). Raise `ulimit -n` of the daemon.")

    def _listen(self) -> None:
        if self._listener is not None:
            self.loop.read(self._listener.fileno(), self._accept)

    def _open(self, sock: socket.socket, body: bytes, inbox: wire.Inbox) -> bool:
        """Do what the first frame asks for; False when the connection is of no use any more."""
        if body == wire.RETIRE:
            self.retire()
            return False
        if body == wire.HELLO:
            self._asking.append(sock)
            self._answer()
            return True
        cwd, *pairs = (part.decode("utf-8", "surrogateescape") for part in body.split(b"\0"))
        env = dict(pair.partition("=")[::2] for pair in pairs if pair[:1] not in ("", "="))
        fds = inbox.take_fds()
        try:
            if len(fds) != wire.PIPES:
                raise ValueError("its pipes did not come with it")  # there was no descriptor for them
            desk = Desk(sock, cwd, env, fds)
        except (OSError, KeyError, ValueError, TypeError, RecursionError) as error:
            for fd in fds:
                os.close(fd)
            _say(f"a driver was sent away: {error!r}")
            return False
        self.loop.read(sock.fileno(), lambda: self._hear(desk))
        desk.cancelled = bool(inbox.rest())
        if desk.cancelled:
            desk.fail("exit", _CANCELLED.format(desk.handler), code=_TERMINATED)
            return True
        self._waiting.append(desk)
        if len(self._waiting) > _WAITING_LIMIT:
            desk.fail("infrastructure", f"{_WAITING_LIMIT} tasks wait for the pool of its node.")
        self._pump()
        return True

    def _hear(self, desk: Desk) -> None:
        """The driver asks to cancel, or is gone."""
        try:
            data = desk.sock.recv(64)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        place = next((each for each in self._places if each.desk is desk), None)
        if not data:
            self.loop.forget(desk.sock.fileno())
            desk.sock.close()
            desk.over = True
            desk.let_go()
            # Nobody holds its lease any more.
            if place is not None:
                place.kill()
        elif not desk.cancelled:
            desk.cancelled = True
            if place is not None:
                place.cancel(desk.patience_s)
            else:
                desk.fail("exit", _CANCELLED.format(desk.handler), code=_TERMINATED)
        self._pump()

    def _pump(self) -> None:
        """Hand out what waits, answer who asked, and go when there is nothing left to do."""
        while self._waiting and self._waiting[0].over:
            self._waiting.popleft()
        known = self._known()
        idle = [place for place in self._places if place.idle and not place.closed]
        while self._waiting and (idle or known is not None):
            desk = self._waiting[0]
            if desk.over:
                pass
            elif known is not None and desk.handler not in known:
                names = ", ".join(known) or "none"
                error = f"There is no handler {desk.handler} on its node; there are: {names}."
                desk.say(error)
                desk.fail("not_found", error)
            elif idle:
                idle.pop().run(desk)
            else:
                break
            self._waiting.popleft()
        trouble = self._trouble()
        if trouble:
            for desk in self._waiting:
                desk.fail("infrastructure", f"The pool of Python workers of its node does not come up: {trouble}")
            self._waiting.clear()
        self._answer()
        if self._waiting or any(place.desk for place in self._places):
            self._busy_s = time.monotonic()
        elif self._quitting and not any(place.pid for place in self._places):
            self.loop.stop()
        elif self._listener is None and not self._quitting:
            self.quit()

    def _returned(self, desk: Desk) -> None:
        """Its worker died before it began: another one takes it, unless that happened too often."""
        if desk.tries >= _TRIES:
            desk.fail(
                "infrastructure", f"{desk.tries} workers of the pool of its node died before they began with it."
            )
        else:
            self._waiting.appendleft(desk)

    def _known(self) -> list[str] | None:
        """Names of the handlers; None until a worker told them."""
        return next((place.handlers for place in self._places if place.handlers is not None), None)

    def _trouble(self) -> str:
        """Why no worker comes up; empty while one is there or may come."""
        troubles = [place.trouble for place in self._places]
        return troubles[0] if all(troubles) else ""

    def _answer(self) -> None:
        known, trouble = self._known(), self._trouble()
        if known is None and not trouble:
            return
        reply = {"handlers": known or [], "trouble": trouble, "workers": [place.pid for place in self._places]}
        for sock in self._asking:
            with suppress(OSError):
                sock.send(wire.encoded(reply))
            sock.close()
        self._asking.clear()

    def _check(self) -> None:
        now_s = time.monotonic()
        late = now_s - self._checked_s > _CHECK_S + _LATE_S
        self._checked_s = now_s
        self.loop.later(_CHECK_S, self._check)
        if not late:  # else it was frozen itself, and its workers perhaps with it
            for place in self._places:
                place.check(now_s)
        _reap({place.pid for place in self._places})
        _bound(2)
        if self._quitting:
            return
        if now_s - self._busy_s > self._settings.idle_quit_s or not self._folder.exists():
            self.retire()


def main(data: str) -> int:
    """Exit status 0 after quitting, 1 when it cannot start; says why on stderr, which is its log."""
    folder = Path(data).absolute() / wire.FOLDER
    try:
        settings = pool_settings.read(folder / wire.SETTINGS)
        lock = _lock(folder)
        listener = _listen(folder)
        log = os.open(folder / wire.LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        _bound(log)
        (folder / wire.PID).write_text(f"{os.getpid()}\n")
    except (OSError, ValueError, TypeError) as error:
        os.write(2, f"The pool of {data} cannot start: {error}. Correct that and restart the daemon.\n".encode())
        return 1
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    wire.adopt_orphans()
    with suppress(OSError):
        os.write(1, f"{wire.READY}\n".encode())
    os.dup2(log, 1)
    os.dup2(log, 2)
    env = {name: value for name, value in os.environ.items() if not name.startswith(_OWN_VARIABLES)}
    host = Host(folder, settings, listener, lock, env)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _on_term(host)
    host.run()
    return 0


def _say(text: str) -> None:
    """Into its log."""
    with suppress(OSError):
        os.write(2, f"{text}\n".encode("utf-8", "backslashreplace"))


def _bound(log: int) -> None:
    """It is appended to, also by workers that nobody asks anything."""
    with suppress(OSError):
        if os.fstat(log).st_size > _LOG_LIMIT_BYTES:
            os.ftruncate(log, 0)


def _reap(workers: Collection[int]) -> None:
    """End what workers that are gone left behind, wherever it fled to: it became the host's."""
    # Where the kernel does not tell its children, none are known.
    with suppress(OSError):
        children = Path(f"/proc/self/task/{os.getpid()}/children").read_text()
        for pid in map(int, children.split()):
            if pid not in workers:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, os.WNOHANG)


def _on_term(host: Host) -> None:
    """TERM is read by the loop like everything else."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)

    def hear() -> None:
        ours.recv(64)
        host.quit()

    host.loop.read(ours.fileno(), hear)
    signal.signal(signal.SIGTERM, lambda _number, _frame: None)
    signal.set_wakeup_fd(theirs.detach())


def _lock(folder: Path) -> int:
    """One host at a time takes connections; the one before lets go when it is retired."""
    fd = os.open(folder / wire.LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline_s = time.monotonic() + _LOCK_WAIT_S
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return fd
        except BlockingIOError:
            if time.monotonic() > deadline_s:
                raise OSError("another one runs already") from None
            time.sleep(0.05)  # flock has no time-out, and nothing else is to be done yet


def _listen(folder: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    os.chdir(folder)  # a socket's path is limited to 107 bytes, a data folder's is not
    with suppress(FileNotFoundError):
        os.unlink(wire.SOCKET)
    mask = os.umask(0o177)
    listener.bind(wire.SOCKET)
    os.umask(mask)
    listener.listen(256)
    listener.setblocking(False)
    os.chdir("/")
    return listener


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
