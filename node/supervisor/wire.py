"""What the daemon and its supervisor say to each other, over a unix socket in the data folder.

A frame is a 4-byte little-endian length and a body. The first body each way is plain text, so that any version
understands any other's; all others are lists of tuples in marshal's version 2, whose first item names the message.
An attempt goes by its key, "task.fence".

The supervisor greets first, with the oldest (`protocol`) and the newest version that it speaks, and the build of
its program. The daemon answers with the newest version that both speak; nobody then says what that lacks. Beside
that, three rules let either side grow. A message of a kind that is not known is passed over. Items at the end of a
tuple that are not known are passed over, and what a shorter one lacks has its default. Only an order is refused for
what is not known in it, and alone: a command never runs with less than was asked for. So the fields at the end of
an order that have their defaults are left out.

Daemon to supervisor:
  ("configure", {kind: slots}, cap_bytes)
  ("spawn", [order, ...])                    an order is a tuple in the order of ORDER_FIELDS
  ("recall", [key, ...])
  ("stop", [(key, cause, kill_timeout_us), ...])
  ("renew", [(key, lease_end_us, start_before_us), ...])      on the boot clock
  ("forget", [key, ...])
  ("quit",)                                  end every command, then itself
  ("hand_over", [argument, ...])             since 3: become this program, and run the commands on
Supervisor to daemon:
  ("inventory", [(key, state, pid, started_us, result), ...])     first, and complete; () = no result
  ("started", key, pid, started_us)
  ("ended", key, result)                     a tuple in the order of RESULT_FIELDS
  ("recalled", key, never_started)
  ("delayed", sentence)                      the machine is out of descriptors or processes
  ("quiet", key, quiet_us, idle)             no output for its stall_us or, if idle, its idle_us; it runs on
  ("unkillable", key, sentence)              it outlived KILL by a minute
  ("stays", sentence)                        since 3: why it did not hand over; it goes on as it is
"""

from __future__ import annotations

import marshal

OLDEST, NEWEST = 2, 3
HANDS_OVER = 3
SOCKET = "supervisor.sock"
RUNS_ALREADY = "another supervisor runs on this data folder"
MAX_FRAME_BYTES = 256 * 1024 * 1024

WAITING = "waiting"
RUNNING = "running"
ENDED = "ended"
LOST = "lost"

# The numbers of cortex.v1.Cause; a test compares them.
CAUSE_NONE = 0
CAUSE_EXIT = 1
CAUSE_SIGNAL = 2
CAUSE_TIMEOUT = 3
CAUSE_OUT_OF_MEMORY = 4
CAUSE_CANNOT_START = 5
CAUSE_CANCEL = 6
CAUSE_MIGRATE = 7
CAUSE_LEASE = 8
CAUSE_SUPERVISOR = 12

ORDER_FIELDS = (
    "key",
    "kind",
    "priority",
    "created_us",  # leader time, unix
    "argv",  # list of bytes
    "env",  # dict of bytes
    "cwd",  # empty = a folder of its own
    "output",  # path of the output files below the output folder, without suffix
    "timeout_us",  # 0 = none
    "kill_timeout_us",
    "lease_end_us",  # boot clock; -1 = no lease
    "success_codes",  # beside 0
    "start_before_us",  # boot clock; -1 = it may start as long as its lease allows it
    "stall_us",  # silence of which the daemon is told; 0 = none
    "idle_us",  # likewise
    "limits",  # by the names of LIMIT_FIELDS: those that there are
)
# What those have that an order may leave out at its end. All up to here are in every order.
ORDER_DEFAULTS: dict[str, object] = {"limits": {}}
ORDER_BASE = len(ORDER_FIELDS) - len(ORDER_DEFAULTS)

# One that is not known is refused, as any other field of an order.
LIMIT_FIELDS = (
    "wrap",  # program and arguments before the command's; it is a sandbox with its processes in a pid namespace
    "seccomp",  # what that program reads from FILTER_FD
    "folder",  # the directory that cwd must prove to be
    "owner",  # (uid, gid) of a folder of its own
    "memory_bytes",  # of all its processes
    "pids",  # processes and threads
    "cpu_millis",  # thousandths of a core
    "rlimits",  # by the kernel's name: nofile, nproc, fsize
    "folder_fd",  # the program of wrap finds the working directory open, as FOLDER_FD
)
# An argument or a value of the environment that stands for the working directory; no real one has a NUL.
FOLDER = b"\0folder"
FILTER_FD, FOLDER_FD = 3, 4

RESULT_FIELDS = (
    "cause",
    "error",  # for CAUSE_CANNOT_START and CAUSE_SUPERVISOR: what and what to do
    "exit_code",  # -1 = none
    "signal",  # 0 = none
    "started_us",  # unix, 0 = never started
    "ended_us",  # unix
    "wall_us",
    "user_us",
    "system_us",
    "max_rss_bytes",
    "stdout",  # (total, dropped, sha256, head, tail)
    "stderr",
    "read_bytes",  # from disks
    "written_bytes",
)
RESULT_BASE = 12


class ProtocolError(Exception):
    """The other side does not keep to the protocol."""


def pack(messages: list[tuple[object, ...]]) -> bytes:
    return frame(marshal.dumps(messages, 2))


def frame(body: bytes) -> bytes:
    return len(body).to_bytes(4, "little") + body


def unpack(body: bytes) -> list[tuple[object, ...]]:
    try:
        messages = marshal.loads(body)
    except (ValueError, EOFError, TypeError) as error:
        raise ProtocolError(f"a frame does not decode: {error}") from None
    if not isinstance(messages, list) or not all(type(item) is tuple and item for item in messages):
        raise ProtocolError("a frame is no list of messages")
    return messages


def hello(role: str, fields: dict[str, str]) -> bytes:
    words = [role, *(f"{name}={value}" for name, value in fields.items())]
    return frame(" ".join(words).encode())


def parse_hello(body: bytes) -> dict[str, str]:
    """The fields, with `role` among them. Raises ProtocolError."""
    if len(body) > 4096:
        raise ProtocolError("the first message is no greeting")
    role, *words = body.decode("ascii", "replace").split()
    fields = dict(word.partition("=")[::2] for word in words)
    if "protocol" not in fields:
        raise ProtocolError("the first message names no protocol version")
    return {"role": role, **fields}


def versions(greeting: dict[str, str]) -> tuple[int, int]:
    """Oldest and newest version that the other side speaks. Raises ProtocolError."""
    oldest = greeting["protocol"]
    newest = greeting.get("newest", oldest)
    if not (oldest.isdecimal() and newest.isdecimal()):
        raise ProtocolError("the first message names no protocol version")
    return int(oldest), int(newest)


def common(oldest: int, newest: int) -> int:
    """The newest version that both sides speak, 0 if there is none."""
    version = min(newest, NEWEST)
    return version if version >= max(oldest, OLDEST) else 0


def shortened(order: tuple[object, ...]) -> tuple[object, ...]:
    """`order` without the defaults at its end."""
    length = len(order)
    while length > ORDER_BASE and order[length - 1] == ORDER_DEFAULTS[ORDER_FIELDS[length - 1]]:
        length -= 1
    return order[:length]


def for_oldest(message: tuple[object, ...]) -> tuple[object, ...]:
    """`message` for a daemon of version 2, which takes results of exactly RESULT_BASE fields."""
    if message[0] == "ended":
        return (*message[:2], message[2][:RESULT_BASE])  # type: ignore[index]
    if message[0] == "inventory":
        items = message[1]
        return ("inventory", [(*item[:4], item[4][:RESULT_BASE]) for item in items])  # type: ignore[attr-defined]
    return message


class Frames:
    """Cuts a byte stream into bodies."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """The bodies that are now complete. Raises ProtocolError."""
        buffer = self._buffer
        buffer += data
        bodies = []
        start = 0
        while len(buffer) - start >= 4:
            size = int.from_bytes(buffer[start : start + 4], "little")
            if size > MAX_FRAME_BYTES:
                raise ProtocolError(f"a frame of {size} bytes is over the limit of {MAX_FRAME_BYTES}")
            if len(buffer) - start - 4 < size:
                break
            bodies.append(bytes(buffer[start + 4 : start + 4 + size]))
            start += 4 + size
        del buffer[:start]
        return bodies
