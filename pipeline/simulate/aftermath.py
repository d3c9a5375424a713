"""What came of a replay: which halts were issued meanwhile, and why perhaps none was."""

from collections.abc import Iterator
from typing import NamedTuple

from pipeline.halt.verify import UNREADABLE
from pipeline.runtime.errors import AndonError
from pipeline.runtime.kafka import PROMPT, KafkaConfig
from pipeline.runtime.topic_reader import TopicReader
from pipeline.runtime.waiting import Deadline, wait_for
from pipeline.simulate.run import Run
from pipeline.simulate.scenario import FASTEST
from pipeline.wire import topics
from pipeline.wire.halts import Halt, decode_halt
from pipeline.wire.partials import UpdateId

HALT_SECONDS = 5.0  # after the last event: a halt takes a fraction of one
READ_SECONDS = 8.0
FEW_HOSTS = 2_000


class Played(NamedTuple):
    """A replay that is over: at which speed, and since when (unix ms)."""

    run: Run
    speed: float
    since_ms: int


def sentences(kafka: KafkaConfig, played: Played) -> Iterator[str]:
    """For people. Nobody's signature is checked: what the topic says is enough to say that a halt is missing."""
    fleet, guilty = played.run.simulation.scenario.fleet.name, played.run.simulation.scenario.guilty
    obeyed = {UpdateId(of.vendor, of.product, of.version) for of, *_ in played.run.obeyed}
    wanted, found = set(guilty) - obeyed, dict[UpdateId, Halt]()

    def all_found() -> bool:
        found.update({_update(halt): halt for halt in _halts(kafka, fleet, played.since_ms)})
        return wanted <= found.keys()

    try:
        wait_for(all_found, HALT_SECONDS)
    except AndonError as error:
        yield f"whether it was halted is not known: {error}"
        return
    for update in found.keys() - obeyed:
        yield f"halt issued: {'/'.join(update)} in {', '.join(found[update].rings)}; --obey would have stopped it there"
    for update in sorted(wanted - found.keys()):
        yield f"no halt of {'/'.join(update)} was issued: {_why(played, update)}"
    if not guilty and not found:
        yield "no halt was issued, as it should be: no update of this story is at fault"


def _update(halt: Halt) -> UpdateId:
    return UpdateId(halt.vendor, halt.product, halt.version)


def _halts(kafka: KafkaConfig, fleet: str, since_ms: int) -> Iterator[Halt]:
    deadline = Deadline(READ_SECONDS)
    with TopicReader(kafka, "andon-replay", settings=PROMPT) as reader:
        reader.start(reader.held(kafka.topic_prefix + topics.HALTS.name))
        for messages in reader.to_end(deadline.left_seconds):
            for message in messages:
                try:
                    halt = decode_halt(message.value() or b"")
                except UNREADABLE:
                    continue
                if (halt.fleet, halt.action) == (fleet, "halt") and halt.issued_at >= since_ms:
                    yield halt


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
