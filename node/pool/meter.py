"""What a task used of its worker."""

from __future__ import annotations

import os
import resource


class Meter:
    """From its making on: CPU time, children that were waited for included, and the most memory at one time."""

    def __init__(self) -> None:
        try:
            fd = os.open("/proc/self/clear_refs", os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.write(fd, b"5")  # the peak begins anew
            finally:
                os.close(fd)
        except OSError:
            pass  # the worker's own peak will do
        self._user_us, self._system_us = _cpu_us()

    def usage(self) -> dict[str, int]:
        user_us, system_us = _cpu_us()
        return {
            "cpu_user_us": user_us - self._user_us,
            "cpu_system_us": system_us - self._system_us,
            "max_rss_bytes": _peak_bytes(),
        }


def _cpu_us() -> tuple[int, int]:
    found = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return round(sum(one.ru_utime for one in found) * 1e6), round(sum(one.ru_stime for one in found) * 1e6)


def _peak_bytes() -> int:
    try:
        with open("/proc/self/status", "rb") as file:
            return next((int(line.split()[1]) << 10 for line in file if line.startswith(b"VmHWM:")), 0)
    except OSError:
        return 0
