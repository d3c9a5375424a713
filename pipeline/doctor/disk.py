"""The disk that a local line writes to: full, nearly full, or read-only."""

import os
from pathlib import Path

from pipeline.doctor.finding import Finding, ok, problem, unchecked, warning

CHECK = "disk"
FULL_BYTES = 64 << 20  # a broker's segment and a part of ClickHouse's no longer find room
LOW_BYTES = 1 << 30


def check_disk(data_dir: str) -> list[Finding]:
    """Of the directory that holds all that a local line keeps; "" is no line's. Nothing is written."""
    if not data_dir:
        return []
    try:
        found = os.statvfs(data_dir)
    except OSError as error:
        return [unchecked(CHECK, f"{data_dir}: {error.strerror}")]
    is_read_only = bool(found.f_flag & os.ST_RDONLY) or not os.access(Path(data_dir), os.W_OK)
    return [judged(data_dir, found.f_bavail * found.f_frsize, is_read_only)]


def judged(data_dir: str, free_bytes: int, is_read_only: bool) -> Finding:
    """What so much room means."""
    free = f"{free_bytes / 1e9:,.1f} GB free"
    if is_read_only:
        advice = "mount it writable, or name another directory: until then nothing is stored, and nothing starts"
        return problem(CHECK, f"{data_dir} is read-only", advice)
    if free_bytes < FULL_BYTES:
        advice = "make room, and the stages go on by themselves; up.events_retention_mib bounds what the broker keeps"
        return problem(CHECK, f"{data_dir} is full ({free_bytes >> 20:,} MiB free): nothing can be stored", advice)
    if free_bytes < LOW_BYTES:
        return warning(CHECK, f"{data_dir}: {free}", "make room before it is full")
    return ok(CHECK, f"{data_dir}: {free}")
