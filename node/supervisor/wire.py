"""What the daemon and its supervisor say to each other, over a unix socket in the data folder.

A frame is a 4-byte little-endian length and a body. The first body each way is plain text, so that any version
understands any other's; all others are lists of tuples in marshal's version 2, whose first item names the message.
An attempt goes by its key, "task.fence".

Daemon to supervisor:
  ("configure", {kind: slots}, cap_bytes)
  ("spawn", [order, ...])                    an order is a tuple in the order of ORDER_FIELDS
  ("recall", [key, ...])
  ("stop", [(key, cause, kill_timeout_us), ...])
  ("renew", [(key, lease_end_us, start_before_us), ...])      on the boot clock
  ("forget", [key, ...])
  ("quit",)                                  end every command, then itself
Supervisor to daemon:
  ("inventory", [(key, state, pid, started_us, result), ...])     first, and complete; () = no result
  ("started", key, pid, started_us)
  ("ended", key, result)                     a tuple in the order of RESULT_FIELDS
  ("recalled", key, never_started)
  ("delayed", sentence)                      the machine is out of descriptors or processes
  ("quiet", key, quiet_us, idle)             no output for its stall_us or, if idle, its idle_us; it runs on
  ("unkillable", key, sentence)              it outlived KILL by a minute
"""

from __future__ import annotations

import marshal

PROTOCOL = 2
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
)

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
)


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
