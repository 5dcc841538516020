"""Signals as bytes of a pipe, with who sent them: `t` the supervisor's stop, `f` another's, `c` a child's end."""

from __future__ import annotations

import os
import resource
import select
import signal
import threading

_STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_ALL = (*_STOPS, signal.SIGCHLD)
_MARK = signal.SIGRTMIN  # from this process to its listener: say that you are here


class Signals:
    """Made once, before any other thread. Others may write to `write_fd` to wake whoever waits for `fd`."""

    def __init__(self) -> None:
        self.fd, self.write_fd = os.pipe()
        os.set_blocking(self.fd, False)
        self._taken = b""
        # Not the parent at the time: that may be gone by then.
        self._supervisor = os.getppid()
        signal.pthread_sigmask(signal.SIG_BLOCK, (*_ALL, _MARK))
        # An ignored child would leave no status.
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    @property
    def stopped(self) -> bool:
        """Whether a stop was ever asked for."""
        return b"t" in self._taken or b"f" in self._taken

    def take(self) -> bytes:
        """What came since the last call."""
        try:
            told = os.read(self.fd, 4096)
        except BlockingIOError:
            return b""
        self._taken = bytes(set(self._taken + told))
        return told

    def settle(self) -> None:
        """Take what was sent by now, also what is on its way to the pipe."""
        poll = select.poll()
        poll.register(self.fd, select.POLLIN)
        while not signal.sigpending().isdisjoint(_STOPS):
            poll.poll()
            self.take()
        # What the listener has taken it writes before it takes this.
        assert self._listener.ident is not None
        signal.pthread_kill(self._listener.ident, _MARK)
        while b"m" not in self.take():
            poll.poll()

    def _listen(self) -> None:
        while True:
            found = signal.sigwaitinfo((*_ALL, _MARK))
            if found.si_signo == _MARK:
                kind = b"m"
            elif found.si_signo == signal.SIGCHLD:
                kind = b"c"
            else:
                # It tells the command's processes as well; 0 is whoever stands outside of a namespace.
                kind = b"t" if found.si_pid in (self._supervisor, 0) else b"f"
            os.write(self.write_fd, kind)


def die_by(number: int) -> None:
    """End this process as a signal does, so that its parent sees the same end, but without a core."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    if number not in (signal.SIGKILL, signal.SIGSTOP):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [number])
    os.kill(os.getpid(), number)
