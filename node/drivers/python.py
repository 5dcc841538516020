"""Runs one python task: gives its order and its two pipes to the host of the pool, and waits for its end.

Started as a plain file, and without imports that cost, for each task. The host writes events and verdict.
"""

import _socket
import os
import signal
import sys
import time

_CONNECT_S = 60.0
_STEP_S = 0.02
_NO_HOST = "The pool of Python workers of its node does not answer. See log in the folder pool of its data folder."
_LOST = "The pool of Python workers of its node ended under it."


def main(folder: str) -> int:
    cwd = os.getcwd()
    stopped = []
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)

    def stop(_number: int, _frame: object) -> None:
        stopped.append(True)
        try:  # noqa: SIM105 - contextlib costs
            sock.send(b"cancel")
        except OSError:
            pass  # not connected yet

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    os.chdir(folder)
    deadline = time.monotonic() + _CONNECT_S
    while not _connected(sock):
        if stopped:
            return 143
        if time.monotonic() > deadline:
            return _fail(_NO_HOST)
        time.sleep(_STEP_S)
    environ = b"\0".join(name + b"=" + value for name, value in os.environb.items())
    body = os.fsencode(cwd) + b"\0" + environ
    data = len(body).to_bytes(4, "big") + body
    fds = b"".join(fd.to_bytes(4, sys.byteorder) for fd in (1, 2))
    try:
        sent = sock.sendmsg([data], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, fds)])
        sock.sendall(data[sent:])
        if stopped:
            sock.send(b"cancel")
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
    path = os.environ["CORTEX_VERDICT"]
    with open(path + ".part", "w") as file:
        file.write('{"cause": "infrastructure", "error": "' + error + '"}')
    os.rename(path + ".part", path)
    os.write(2, error.encode() + b"\n")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
