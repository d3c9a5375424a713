"""What came of a replay: which halts were issued meanwhile, and why perhaps none was."""

from collections.abc import Iterator
from typing import NamedTuple

from pipeline.runtime.clock import wall_clock_ms
from pipeline.runtime.errors import AndonError
from pipeline.runtime.kafka import KafkaConfig
from pipeline.runtime.logging import printable
from pipeline.runtime.waiting import wait_for
from pipeline.simulate.heard import newest_beat, orders
from pipeline.simulate.run import Run
from pipeline.simulate.scenario import FASTEST
from pipeline.wire.halts import Halt
from pipeline.wire.partials import UpdateId
from pipeline.wire.verdicts import FleetHeartbeat

HALT_SECONDS = 5.0  # after the last event: a halt takes a fraction of one
FEW_HOSTS = 2_000
BEATS_MS = 25_000  # two heartbeats, and what it takes to read them
FASTEST_TOLD = 1_000.0  # beyond it event time says nothing of who is behind


class Played(NamedTuple):
    """A replay that is over: at which speed, and since when (unix ms)."""

    run: Run
    speed: float
    since_ms: int


def sentences(kafka: KafkaConfig, played: Played) -> Iterator[str]:
    """For people. Nobody's signature is checked: what the topic says is enough to say that a halt is missing."""
    fleet, guilty = played.run.simulation.scenario.fleet.name, played.run.simulation.scenario.guilty
    obeyed = {UpdateId(of.vendor, of.product, of.version) for of, *_ in played.run.obeyed}
    wanted, found, newest = set(guilty) - obeyed, dict[UpdateId, Halt](), dict[UpdateId, Halt]()

    def all_found() -> bool:
        newest.update({_update(halt): halt for halt in orders(kafka, fleet)})
        found.update({of: halt for of, halt in newest.items() if _is_new(halt, played)})
        return wanted <= found.keys()

    try:
        wait_for(all_found, HALT_SECONDS)
        beat = newest_beat(kafka, fleet) if wanted - found.keys() else None
    except AndonError as error:
        yield f"whether it was halted is not known: {error}"
        return
    for update in found.keys() - obeyed:
        yield f"halt issued: {'/'.join(update)} in {', '.join(found[update].rings)}; --obey would have stopped it there"
    for update in sorted(wanted - found.keys()):
        why = _stands(newest.get(update)) or _unheard(played, beat, wall_clock_ms()) or _why(played, update)
        yield f"no halt of {'/'.join(update)} was issued: {why}"
    if not guilty and not found:
        yield "no halt was issued, as it should be: no update of this story is at fault"


def _update(halt: Halt) -> UpdateId:
    return UpdateId(halt.vendor, halt.product, halt.version)


def _is_new(halt: Halt, played: Played) -> bool:
    return halt.action == "halt" and halt.issued_at >= played.since_ms


def _stands(newest: Halt | None) -> str:
    """That it stood halted before, "" when it did not."""
    if newest is None or newest.action != "halt":
        return ""
    order = f"epoch {newest.epoch} by {printable(newest.decided_by)}"
    return f"it stands halted since before ({order}), and what stands is not ordered again; see `andon halts list`"


def _unheard(played: Played, beat: FleetHeartbeat | None, now_ms: int) -> str:
    """That the line has not taken in what was replayed, "" when it has, or that cannot be told yet."""
    if beat is None or beat.at < played.since_ms:
        if now_ms - played.since_ms < BEATS_MS:
            return ""
        return "its detector has said nothing since the replay began: look with `andon status` which stage is not up"
    behind_ms = now_ms - beat.stream_time
    if behind_ms <= max(BEATS_MS, min(played.speed, FASTEST_TOLD) * BEATS_MS):
        return ""
    return (
        f"its detector has taken in events up to {behind_ms // 60_000:,} min before now only: a stage is down, or "
        "behind; look with `andon status`, and wait"
    )


def _why(played: Played, update: UpdateId) -> str:
    simulation = played.run.simulation
    lost, hosts = simulation.ledger.lost(update), simulation.scenario.fleet.hosts
    if hosts < FEW_HOSTS:
        return (
            f"it crashed {lost:,} of {hosts:,} hosts, and not all of them report it; a larger fleet (--hosts "
            f"{FEW_HOSTS}) gives evidence enough"
        )
    if played.speed == FASTEST:
        return "with --speed max the story is over before much is decided; leave it out"
    return "see with `andon status` whether a correlator reads this cluster, and what evidence it has"
