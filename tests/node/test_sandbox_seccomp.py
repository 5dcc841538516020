"""The filter of system calls, run instruction by instruction as the kernel would."""

from __future__ import annotations

import errno
import struct

import pytest

from node.worker.sandbox import seccomp

ALLOW, KILL = 0x7FFF0000, 0x80000000
REFUSE, ABSENT = 0x00050000 | errno.EPERM, 0x00050000 | errno.ENOSYS
X86_64, AARCH64 = seccomp.MACHINES["x86_64"], seccomp.MACHINES["aarch64"]
MACHINES = pytest.mark.parametrize("machine", ["x86_64", "aarch64"])


def verdict(machine: str, number: int, *arguments: int, audit: int | None = None) -> int:
    """What the filter says of a call."""
    known = seccomp.MACHINES[machine].audit if audit is None else audit
    values = (*arguments, *[0] * (6 - len(arguments)))
    data = struct.pack("<IIQ6Q", number, known, 0, *values)
    program = list(struct.iter_unpack("<HBBI", seccomp.program(machine)))
    at = accumulator = 0
    while True:
        code, yes, no, operand = program[at]
        at += 1
        if code == 0x20:
            (accumulator,) = struct.unpack_from("<I", data, operand)
        elif code == 0x06:
            return int(operand)
        else:
            holds = {0x15: accumulator == operand, 0x35: accumulator >= operand, 0x45: bool(accumulator & operand)}
            at += yes if holds[code] else no


@MACHINES
def test_what_is_named_is_refused_and_all_else_allowed(machine: str) -> None:
    refused = set(seccomp.MACHINES[machine].refused)
    assert len(refused) >= 40
    for number in set(range(1000)) - {435}:
        assert verdict(machine, number) == (REFUSE if number in refused else ALLOW), number
    assert verdict(machine, 435) == ABSENT, "clone3"


def test_numbers_are_those_of_the_kernel() -> None:
    """A few that anybody can look up; both columns are sorted by name in the table."""
    assert {161, 165, 272, 308, 101, 321} <= set(X86_64.refused), "chroot mount unshare setns ptrace bpf"
    assert {51, 40, 97, 268, 117, 280} <= set(AARCH64.refused)
    for harmless in (0, 1, 2, 59, 60, 105, 106, 116, 117, 119, 157):
        assert harmless not in X86_64.refused, "read write open execve exit setuid setgid setgroups setresuid prctl"


@MACHINES
def test_clone_makes_processes_but_no_namespaces(machine: str) -> None:
    clone = seccomp.MACHINES[machine].clone
    assert verdict(machine, clone, 0x00000011) == ALLOW, "fork"
    assert verdict(machine, clone, 0x003D0F00) == ALLOW, "a thread"
    for flag in (0x00020000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000):
        assert verdict(machine, clone, flag | 0x11) == REFUSE


@MACHINES
def test_nobody_types_into_a_terminal(machine: str) -> None:
    ioctl = seccomp.MACHINES[machine].ioctl
    assert verdict(machine, ioctl, 0, 0x5401) == ALLOW, "TCGETS"
    assert verdict(machine, ioctl, 0, 0x5412) == verdict(machine, ioctl, 0, 0x541C) == REFUSE


@MACHINES
def test_another_architecture_is_no_way_around(machine: str) -> None:
    assert verdict(machine, 0, audit=0x40000003) == KILL, "32 bits"
    if machine == "x86_64":
        assert verdict(machine, 0x40000000) == verdict(machine, 0x40000000 + 272) == ABSENT, "x32"


def test_an_unknown_machine_has_no_filter() -> None:
    assert seccomp.program("riscv64") == b""
