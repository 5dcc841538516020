"""The system calls that a command at level strict is refused, as a classic BPF program for `bwrap --seccomp`.

What is refused is what Docker's default profile refuses a container without capabilities: what administers the
machine, loads code into its kernel or opens a namespace. A refused call fails with EPERM; clone3, whose flags no
filter can read, with ENOSYS, on which libraries fall back to clone.
"""

from __future__ import annotations

import errno
import struct
from typing import NamedTuple

# From linux/bpf_common.h, linux/seccomp.h and linux/audit.h.
_LOAD, _JUMP_EQUAL, _JUMP_GREATER_EQUAL, _JUMP_ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _ERRNO, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
# Offsets in struct seccomp_data; of an argument the low half, on a little-endian machine.
_NUMBER, _ARCHITECTURE, _ARGUMENT_0, _ARGUMENT_1 = 0, 4, 16, 24
_NEW_NAMESPACES = 0x7E020000  # all CLONE_NEW* but CLONE_NEWTIME, which clone cannot be given
_TERMINAL_INPUT = (0x5412, 0x541C)  # TIOCSTI and TIOCLINUX type into somebody's terminal
_X32 = 0x40000000
_FURTHEST = 255  # a conditional jump passes over no more instructions


class Machine(NamedTuple):
    """What differs by architecture."""

    audit: int
    clone: int
    ioctl: int
    refused: tuple[int, ...]


# By name in asm/unistd.h: x86_64, aarch64 (-1 = there is none).
_CALLS: dict[str, tuple[int, int]] = {
    "acct": (163, 89),
    "add_key": (248, 217),
    "bpf": (321, 280),
    "chroot": (161, 51),
    "clock_adjtime": (305, 266),
    "clock_settime": (227, 112),
    "create_module": (174, -1),
    "delete_module": (176, 106),
    "fanotify_init": (300, 262),
    "finit_module": (313, 273),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fsopen": (430, 430),
    "fspick": (433, 433),
    "get_kernel_syms": (177, -1),
    "init_module": (175, 105),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "io_uring_setup": (425, 425),
    "ioperm": (173, -1),
    "iopl": (172, -1),
    "kcmp": (312, 272),
    "kexec_file_load": (320, 294),
    "kexec_load": (246, 104),
    "keyctl": (250, 219),
    "lookup_dcookie": (212, 18),
    "mount": (165, 40),
    "mount_setattr": (442, 442),
    "move_mount": (429, 429),
    "move_pages": (279, 239),
    "nfsservctl": (180, 42),
    "open_by_handle_at": (304, 265),
    "open_tree": (428, 428),
    "perf_event_open": (298, 241),
    "pivot_root": (155, 41),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "ptrace": (101, 117),
    "query_module": (178, -1),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "reboot": (169, 142),
    "request_key": (249, 218),
    "setns": (308, 268),
    "settimeofday": (164, 170),
    "swapoff": (168, 225),
    "swapon": (167, 224),
    "sysctl": (156, -1),
    "sysfs": (139, -1),
    "syslog": (103, 116),
    "umount2": (166, 39),
    "unshare": (272, 97),
    "uselib": (134, -1),
    "userfaultfd": (323, 282),
    "ustat": (136, -1),
    "vhangup": (153, 58),
}
_CLONE3 = 435
REFUSED = tuple(sorted(_CALLS))


def _column(index: int) -> tuple[int, ...]:
    return tuple(sorted(numbers[index] for numbers in _CALLS.values() if numbers[index] >= 0))


MACHINES = {
    "x86_64": Machine(0xC000003E, clone=56, ioctl=16, refused=_column(0)),
    "aarch64": Machine(0xC00000B7, clone=220, ioctl=29, refused=_column(1)),
}


def program(machine: str) -> bytes:
    """The filter for `machine`, as in os.uname(); empty where none is known."""
    found = MACHINES.get(machine)
    if found is None:
        return b""
    lines = [
        _line(_LOAD, _ARCHITECTURE),
        _line(_JUMP_EQUAL, found.audit, yes=1),
        _line(_RETURN, _KILL),
        _line(_LOAD, _NUMBER),
    ]
    if machine == "x86_64":
        lines += [_line(_JUMP_GREATER_EQUAL, _X32, no=1), _line(_RETURN, _ERRNO | errno.ENOSYS)]
    lines += [_line(_JUMP_EQUAL, _CLONE3, no=1), _line(_RETURN, _ERRNO | errno.ENOSYS)]
    lines += _on_argument(found.clone, _ARGUMENT_0, [_line(_JUMP_ANY_BIT, _NEW_NAMESPACES, no=1)])
    lines += _on_argument(found.ioctl, _ARGUMENT_1, [_line(_JUMP_EQUAL, each, no=1) for each in _TERMINAL_INPUT])
    assert len(found.refused) < _FURTHEST
    for left, number in zip(range(len(found.refused), 0, -1), found.refused, strict=True):
        lines.append(_line(_JUMP_EQUAL, number, yes=left))
    return b"".join([*lines, _line(_RETURN, _ALLOW), _line(_RETURN, _ERRNO | errno.EPERM)])


def _on_argument(number: int, offset: int, tests: list[bytes]) -> list[bytes]:
    """Refuse the call `number` if one of `tests` holds for the argument at `offset`, else allow it."""
    body = [_line(_LOAD, offset)]
    for test in tests:
        body += [test, _line(_RETURN, _ERRNO | errno.EPERM)]
    body.append(_line(_RETURN, _ALLOW))
    return [_line(_JUMP_EQUAL, number, no=len(body)), *body]


def _line(code: int, operand: int, yes: int = 0, no: int = 0) -> bytes:
    """One instruction, struct sock_filter; `yes` and `no` are how many are passed over."""
    return struct.pack("<HBBI", code, yes, no, operand)
