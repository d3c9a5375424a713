"""The correlator's part of the bench, in a process of its own: partials from standard input, figures on standard
output.

What is timed is what a correlator does with each record: decode it, look whether it makes sense, step. Neither Faust
nor a broker takes part."""

import json
import os
import struct
import sys
import time
from collections.abc import Iterator
from typing import IO, NamedTuple

import numpy as np

from pipeline.bench.scale.fleet import FLEET
from pipeline.correlate.check import check_partial, check_size
from pipeline.correlate.checkpoint import VERSION, FleetState, pack
from pipeline.decide.detector import Detector
from pipeline.decide.policy import PolicySet
from pipeline.local.machine.usage import peak_rss_bytes
from pipeline.wire.partials import decode_partial

PHASES = ("warm", "steady", "incident")
_HEAD = struct.Struct("<BqI")  # phase, moment of its coming (unix ms), bytes


class Frame(NamedTuple):
    """A partial on its way to the correlator."""

    phase: int
    at_ms: int
    raw: bytes


def put(stream: IO[bytes], frame: Frame) -> None:
    """Write one."""
    stream.write(_HEAD.pack(frame.phase, frame.at_ms, len(frame.raw)))
    stream.write(frame.raw)


def frames(stream: IO[bytes]) -> Iterator[Frame]:
    """Read all."""
    while head := stream.read(_HEAD.size):
        phase, at_ms, size = _HEAD.unpack(head)
        yield Frame(phase, at_ms, stream.read(size))


def take(stream: IO[bytes]) -> dict[str, object]:
    """Every partial through the detector; CPU seconds of each phase, and what is left at the end."""
    detector = Detector(FLEET, PolicySet())
    taken: dict[int, list[float]] = {phase: [] for phase in range(len(PHASES))}
    events = 0
    incident_ms = halted_ms = halted_hosts = 0
    for frame in frames(stream):
        began = time.process_time()
        check_size(frame.raw)
        partial = decode_partial(frame.raw)
        check_partial(partial, frame.at_ms)
        halts = detector.step(partial).halts
        taken[frame.phase].append(time.process_time() - began)
        events += partial.events
        if PHASES[frame.phase] == "incident":
            incident_ms = incident_ms or frame.at_ms
            if halts and not halted_ms:
                halted_ms, halted_hosts = frame.at_ms, halts[0].evidence.crashed_hosts
        elif halts:
            raise ValueError(f"halted without an incident: {halts}")
    return {
        "events": events,
        **{PHASES[phase]: _figures(seconds) for phase, seconds in taken.items()},
        "seconds_to_halt": (halted_ms - incident_ms) / 1000 if halted_ms else None,
        "crashed_hosts_at_halt": halted_hosts,
        **_kept(detector),
        "peak_rss_bytes": peak_rss_bytes(os.getpid()),
    }


def _figures(seconds: list[float]) -> dict[str, float]:
    """CPU time by partial."""
    if not seconds:
        return {"partials": 0}
    return {
        "partials": len(seconds),
        "step_p50_seconds": round(float(np.median(seconds)), 6),
        "step_p99_seconds": round(float(np.quantile(seconds, 0.99)), 6),
        "cpu_seconds": round(sum(seconds), 3),
    }


def _kept(detector: Detector) -> dict[str, object]:
    """The state, and a checkpoint of it as it is written."""
    raw = detector.snapshot()
    began = time.process_time()
    written = pack(FleetState(VERSION, FLEET, 0, 0, 0, 0, (), raw), "A")
    return {
        "state_bytes": len(raw),
        "checkpoint_bytes": sum(len(value) for _, value in written.chunks),
        "checkpoint_seconds": round(time.process_time() - began, 3),
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(take(sys.stdin.buffer)))
