"""Each kind of fault once, on one line: what there is time for with every run of the tests.

ClickHouse fails meanwhile in one way after another, so that nobody waits for that alone. Every kill is aimed.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from pipeline.bench.faults.archive import Storing
from pipeline.bench.faults.brokers import SHORT_CUT_SECONDS, cluster_of, cut, leader, restart, whole_account
from pipeline.bench.faults.combine import kill_combiner
from pipeline.bench.faults.correlate import kill_correlator
from pipeline.bench.faults.correlator import correlator
from pipeline.bench.faults.schedule import LIFE_SECONDS, Kill
from pipeline.bench.faults.setup import Figures, Setup
from pipeline.bench.faults.stages import READY_SECONDS
from pipeline.bench.faults.watch import Pulse

FAULT_SECONDS = 2.0  # the least that one of ClickHouse lasts
TRIES = 5  # of an aimed kill; of those on a busy machine about one in fifty misses
ANY, INSIDE = Kill(LIFE_SECONDS[0], "any"), Kill(LIFE_SECONDS[0], "inside")


def one_of_each(setup: Setup) -> Figures:
    """Combiner killed in a transaction and scaled to three and two, archive killed between insert and commit,
    correlator killed also in its recovery, a leader restarted, ClickHouse failing in five ways, the brokers cut off;
    then all is judged."""
    with Storing(setup, "one-of-each") as line:
        clickhouse, correlate, inside = line.clickhouse, correlator(line), {}
        combiner = line.combiner()
        line.until("the correlator is ready", correlate.is_ready, READY_SECONDS)
        line.begin()
        with _until_refused(line, clickhouse.gone(), "refused"):
            line.run_for(FAULT_SECONDS)
            inside["kills_in_transaction"] = _hit(line, lambda: kill_combiner(line, combiner, INSIDE))
        with clickhouse.slow():
            line.run_for(FAULT_SECONDS)
            more = [line.combiner(slot) for slot in (1, 2)]
        line.drained()
        inside["kills_between_insert_and_commit"] = _hit(line, lambda: line.kill_archive(INSIDE))
        with _until_refused(line, clickhouse.read_only(), "ACCESS_DENIED"):
            kill_correlator(line, correlate, ANY, Pulse())
            inside["kills_in_recovery"] = _hit(line, lambda: kill_correlator(line, correlate, INSIDE, Pulse()))
        line.stop(more[1])
        with _until_refused(line, clickhouse.full(), "NOT_ENOUGH_SPACE"):
            line.run_for(FAULT_SECONDS)
        line.drained()
        with _until_refused(line, clickhouse.half_full(), "NOT_ENOUGH_SPACE"):
            line.run_for(FAULT_SECONDS)
            restart(line, cluster_of(setup), leader(line))
        under_faults = line.under_faults()
        cut(setup, line, SHORT_CUT_SECONDS)
        halts = len(line.halts.halts)
        line.until("halts go on", lambda: len(line.halts.halts) > halts, READY_SECONDS)
        found = whole_account(line, correlate, []) | under_faults
        return found | inside | {"slots": [1, 3, 2], "broker_restarts": 1, "cut_seconds": SHORT_CUT_SECONDS}


@contextmanager
def _until_refused(line: Storing, fault: AbstractContextManager[None], word: str) -> Iterator[None]:
    """The fault lasts as long as the block, and until the archive has said that it was refused so."""
    said = line.archive.count(word)
    with fault:
        yield
        line.until(f"the archive is refused: {word}", lambda: line.archive.count(word) > said, READY_SECONDS)


def _hit(line: Storing, kill: Callable[[], None]) -> int:
    """Killed until one hits the moment that it is aimed at, and how many did: after the last look a broker may still do
    what it was asked for before the process stood still."""
    before = line.inside
    for _ in range(TRIES):
        kill()
        if line.inside > before:
            break
    return line.inside - before
