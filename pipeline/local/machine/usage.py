"""What a process uses, and whether it is there, by what the kernel says of it."""

from pathlib import Path
from typing import NamedTuple

import psutil


class Usage(NamedTuple):
    """What a process has used: CPU seconds since its start, all threads; and memory now."""

    cpu_seconds: float
    rss_bytes: int


def usage(pid: int) -> Usage | None:
    """None when there is no such process, or it is not to be asked."""
    try:
        process = psutil.Process(pid)
        with process.oneshot():
            times = process.cpu_times()
            return Usage(times.user + times.system, process.memory_info().rss)
    except psutil.Error:
        return None


def peak_rss_bytes(pid: int) -> int:
    """The most memory that a running process has held; 0 where nobody says. psutil does not know it on Linux, and
    getrusage would count what its parent held when it started it."""
    try:
        status = Path(f"/proc/{pid}/status").read_text("ascii", "replace")
    except OSError:
        return 0
    return int(status.split("VmHWM:")[1].split()[0]) * 1024 if "VmHWM:" in status else 0


def is_alive(pid: int) -> bool:
    """Whether there is such a process, and it is no zombie."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
