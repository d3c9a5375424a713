"""The combiner: consume, fold, commit, again and again. It keeps no state between batches but the soft `Memory`."""

from collections.abc import Callable

from structlog.typing import FilteringBoundLogger

from pipeline.combine.batch import Batch
from pipeline.combine.config import STAGE, CombineConfig
from pipeline.combine.guard import RejectGuard
from pipeline.combine.memory import HostNames, Memory
from pipeline.combine.sink import Sink
from pipeline.combine.source import Source, Tell
from pipeline.combine.transaction import AbortedError
from pipeline.runtime import metrics
from pipeline.runtime.errors import FatalStageError
from pipeline.runtime.kafka import KafkaConfig
from pipeline.runtime.lifecycle import StopSignal
from pipeline.wire.learned import LearnedDecoder

_MAX_ABORTS = 10  # in a row; then a new process may fare better


class Combiner:
    """One worker slot. `run` returns when `stop` is set and everything read is committed."""

    def __init__(
        self,
        kafka: KafkaConfig,
        config: CombineConfig,
        stop: StopSignal,
        log: FilteringBoundLogger,
        seal: Callable[[bytes], bytes] = bytes,  # which leaves them as they are
        tell: Tell = lambda _: None,
        hosts: HostNames | None = None,
    ) -> None:
        self._config, self._stop, self._log = config, stop, log
        self._decoder = LearnedDecoder()
        self._memory = Memory(config.admission_entries, hosts)
        self._source = Source(kafka, config, log, tell)
        self.sink = Sink(kafka, config, seal, log)
        self._guard = RejectGuard(config.max_rejected_share, config.rejected_window)
        self._aborts = 0  # in a row
        self._batch = self._new_batch()

    def run(self) -> None:
        """Raises FatalStageError when this process cannot go on."""
        self._source.open(on_revoke=self._commit, on_lost=self._lose)
        try:
            while not self._stop.is_set():
                if not self._source.fill(self._batch):
                    self._rewind()
                self._commit()
                self._source.report_lag()
        finally:
            self._batch = self._new_batch()  # left open by an error, it must not be committed by closing
            self._source.close()

    def _new_batch(self) -> Batch:
        return Batch(self._decoder, self._memory, self._config.window_ms)

    def _commit(self) -> None:
        """Write the open batch, if there is anything in it, and begin a new one."""
        batch = self._batch
        for error in batch.errors:
            self._source.judge(error)
        batch.errors.clear()
        if not batch.messages:
            return
        if (why := self._guard.judge(batch.messages, len(batch.dead_letters))) is not None:
            raise FatalStageError(why)
        offsets = self._source.offsets()
        try:
            with metrics.BATCH_SECONDS.labels(STAGE).time():
                fold = batch.fold()
                self.sink.write(batch, fold, offsets, self._source.group_metadata())
        except AbortedError as error:
            self._give_up(str(error))
            self._rewind()
            return
        self._aborts = 0
        self._source.commit(offsets)
        self._memory.commit(fold)
        _count(batch, fold.newest_ms)
        self._batch = self._new_batch()

    def _lose(self, why: str) -> None:
        """Nothing of the open batch may be committed any more."""
        if self._batch.messages:
            self._give_up(why)

    def _give_up(self, why: str) -> None:
        """Forget the open batch: it will be read again, here or elsewhere."""
        metrics.ABORTS.labels(STAGE).inc()
        self._aborts += 1
        self._log.warning("batch given up", why=why, messages=self._batch.messages, in_a_row=self._aborts)
        if self._aborts > _MAX_ABORTS:
            raise FatalStageError(f"{self._aborts} transactions in a row failed, the last: {why}")
        self._memory.rollback()
        self._batch = self._new_batch()

    def _rewind(self) -> None:
        """Read on from the committed offsets, after a pause when that has not helped lately."""
        self._source.rewind()
        if self._aborts:
            self._stop.wait(min(5.0, 0.05 * 2**self._aborts))


def _count(batch: Batch, newest_ms: int) -> None:
    metrics.BATCHES.labels(STAGE).inc()
    metrics.BATCH_MESSAGES.labels(STAGE).observe(batch.messages)
    metrics.DEADLETTERS.labels(STAGE).inc(len(batch.dead_letters))
    metrics.EVENTS.labels(STAGE).inc(batch.events)
    for letter in batch.dead_letters:
        metrics.REJECTED.labels(STAGE, letter.reason.value).inc()
    if batch.events:
        metrics.STREAM_TIME.labels(STAGE).set(newest_ms / 1000)
