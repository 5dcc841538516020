"""Start of the supervisor process: one per data folder, in a session of its own.

It stays until it is told to quit, by its daemon or by SIGTERM: a daemon that is gone may come back to its commands.
Only when its data folder is removed while nothing runs does it go by itself.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import resource
import signal
import socket
import sys

from node.supervisor import wire
from node.supervisor.build import build_id
from node.supervisor.family import Family
from node.supervisor.handover import NoHandOver, read_state
from node.supervisor.journal import Journal
from node.supervisor.place import Place
from node.supervisor.remnants import end_remnants
from node.supervisor.server import Supervisor
from node.supervisor.spawn import Spawner

_FOLDER = "supervisor"
_PID_FILE = "supervisor.pid"
_PR_SET_CHILD_SUBREAPER = 36
_MAX_DESCRIPTORS = 65536
_MAX_LOG_BYTES = 1024 * 1024


def main(arguments: list[str]) -> int:
    """Exit status 0 after quitting, 1 when it cannot start, 2 for wrong usage; says why on stderr."""
    try:
        if arguments == ["--try"]:
            _restore(read_state(0), socket.socket(socket.AF_UNIX))
            return 0
        if len(arguments) == 4 and (arguments[0], arguments[2]) == ("--data", "--resume"):
            return _serve(_resume(int(arguments[3])), arguments[1])
    except (NoHandOver, OSError, AttributeError, LookupError, TypeError, ValueError) as error:
        os.write(2, f"The commands of an earlier program cannot be taken over: {error!r}\n".encode())
        return 1
    if len(arguments) != 2 or arguments[0] != "--data":
        os.write(2, b"usage: python -m node.supervisor --data DIR\n")
        return 2
    data = os.path.abspath(arguments[1])
    folder = f"{data}/{_FOLDER}"
    try:
        for path in (data, folder, f"{data}/output", f"{data}/work"):
            os.makedirs(path, 0o700, exist_ok=True)
        lock = _lock(folder)
        boot_id = read_boot_id()
        identity = read_identity(folder)
        journal = Journal(folder, boot_id)
        listener = _listen(folder)
        greeting = _greeting(boot_id)
    except OSError as error:
        os.write(2, f"The supervisor of {data} cannot start: {error}. Correct that and start it again.\n".encode())
        return 1
    place = Place(data, lock, boot_id, identity, _prepare_process())
    end_remnants(journal, boot_id, identity)
    supervisor = Supervisor(place, listener, journal, Family(identity), Spawner(place.descriptors), greeting)
    _write_pid(data)
    _detach(folder)
    return _serve(supervisor, data)


def _serve(supervisor: Supervisor, data: str) -> int:
    supervisor.run()
    try:
        os.unlink(f"{data}/{_PID_FILE}")
    except FileNotFoundError:
        pass  # the data folder was removed
    return 0


def _resume(fd: int) -> Supervisor:
    """Go on where the program that executed this one left off; what it held back of signals comes now."""
    state = read_state(fd)
    supervisor = _restore(state, socket.socket(fileno=state["listener"]))  # type: ignore[arg-type]
    for each in supervisor.descriptors:
        os.set_inheritable(each, False)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    return supervisor


def _restore(state: dict[str, object], listener: socket.socket) -> Supervisor:
    place = Place.restored(state["place"])  # type: ignore[arg-type]
    journal = Journal(place.folder, place.boot_id, state["journal"])  # type: ignore[arg-type]
    return Supervisor(
        place,
        listener,
        journal,
        Family(place.identity),
        Spawner(place.descriptors),
        _greeting(place.boot_id),
        state,
    )


def _greeting(boot_id: str) -> bytes:
    return wire.hello(
        "cortex-supervisor",
        {
            "protocol": str(wire.OLDEST),
            "newest": str(wire.NEWEST),
            "build": build_id(os.path.dirname(os.path.abspath(__file__))),
            "pid": str(os.getpid()),
            "boot": boot_id,
        },
    )


def read_boot_id() -> str:
    with open("/proc/sys/kernel/random/boot_id") as file:
        return file.read().strip()


def read_identity(folder: str) -> str:
    """What tells this folder's commands from those of other folders; made once."""
    path = f"{folder}/identity"
    try:
        with open(path) as file:
            found = file.read().strip()
    except FileNotFoundError:
        found = ""
    if not found:
        found = os.urandom(8).hex()
        with open(path, "w") as file:
            file.write(found)
    return found


def _lock(folder: str) -> int:
    fd = os.open(f"{folder}/lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise OSError(wire.RUNS_ALREADY) from None
    return fd


def _listen(folder: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    os.chdir(folder)  # a socket's path is limited to 107 bytes, a data folder's is not
    try:
        os.unlink(wire.SOCKET)
    except FileNotFoundError:
        pass
    mask = os.umask(0o177)
    listener.bind(wire.SOCKET)
    os.umask(mask)
    listener.listen(8)
    listener.setblocking(False)
    os.chdir("/")
    return listener


def _prepare_process() -> int:
    """Become the reaper of orphans and take more descriptors; how many a command gets, 0 = as many as it has."""
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    if os.getsid(0) != os.getpid():
        try:
            os.setsid()
        except OSError:
            pass  # a group leader already
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MAX_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _MAX_DESCRIPTORS)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return 0
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return soft


def _write_pid(data: str) -> None:
    new = f"{data}/{_PID_FILE}.new"
    with open(new, "w") as file:
        file.write(f"{os.getpid()}\n")
    os.rename(new, f"{data}/{_PID_FILE}")


def _detach(folder: str) -> None:
    """Say on stdout that connections are taken, then let go of the starter's descriptors."""
    log = os.open(f"{folder}/log", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    if os.fstat(log).st_size > _MAX_LOG_BYTES:
        os.ftruncate(log, 0)
    os.dup2(log, 2)
    try:
        os.write(1, b"ready\n")
    except OSError:
        pass
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    os.dup2(null, 0)
    os.dup2(null, 1)
    for fd in (log, null):
        if fd > 2:
            os.close(fd)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
