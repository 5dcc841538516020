"""Runs one python task: gives its order and its two pipes to the host of the pool, and waits for its end.

Started as a plain file for each task. It imports nothing but what is in the interpreter and one module in C: `os`
and `signal` would take longer than all else together. The host writes events and verdict.
"""

import _signal  # type: ignore[import-not-found]
import _socket
import posix
import sys
import time

_CONNECT_S = 60.0
_STEP_S = 0.02
_NO_HOST = "The pool of Python workers of its node does not answer. See log in the folder pool of its data folder."
_LOST = "The pool of Python workers of its node ended under it."
_TERMINATED = 143
_CANCEL = b"cancel"


def main(folder: str) -> int:
    cwd = posix.getcwdb()
    stopped: list[bool] = []
    sent_all: list[bool] = []
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)

    def stop(_number: int, _frame: object) -> None:
        stopped.append(True)
        if sent_all:  # never into the middle of the order
            sock.send(_CANCEL)

    _signal.signal(_signal.SIGTERM, stop)
    _signal.signal(_signal.SIGINT, stop)
    posix.chdir(folder)
    deadline = time.monotonic() + _CONNECT_S
    while not _connected(sock):
        if stopped:
            return _TERMINATED
        if time.monotonic() > deadline:
            return _fail(_NO_HOST)
        time.sleep(_STEP_S)  # the host may be about to begin to listen
    body = b"\0".join([cwd, *(name + b"=" + value for name, value in posix.environ.items())])
    data = len(body).to_bytes(4, "big") + body
    fds = b"".join(fd.to_bytes(4, sys.byteorder) for fd in (1, 2))
    try:
        sent = sock.sendmsg([data], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, fds)])
        sock.sendall(data[sent:])
        sent_all.append(True)
        if stopped:
            sock.send(_CANCEL)
        code = sock.recv(1)
    except OSError:
        code = b""
    return code[0] if code else _fail(_LOST)


def _connected(sock: _socket.socket) -> bool:
    try:
        sock.connect("socket")
    except OSError:
        return False
    return True


def _fail(error: str) -> int:
    """What is not the task's fault costs it no attempt."""
    path = posix.environ[b"CORTEX_VERDICT"]
    with open(path + b".part", "w") as file:
        file.write('{"cause": "infrastructure", "error": "' + error + '"}')
    posix.rename(path + b".part", path)
    posix.write(2, error.encode() + b"\n")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
