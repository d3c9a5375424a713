"""What `andon status` shows, gathered again and again."""

from pathlib import Path

from pipeline.halt.trust import TrustConfig
from pipeline.local import datadir, stack
from pipeline.local.machine.usage import Usage, usage
from pipeline.local.stack import StackInfo
from pipeline.runtime.clock import wall_clock_ms
from pipeline.runtime.errors import AndonError
from pipeline.runtime.kafka import KafkaConfig
from pipeline.status import snapshot
from pipeline.status.record import NEWEST_ENTRIES, Shown
from pipeline.status.snapshot import Snapshot
from pipeline.status.sources import Cluster, Followed, Offsets
from pipeline.wire import topics
from pipeline.wire.words import counted

CATCH_UP_SECONDS = 5.0
AUDIT_SECONDS = 1.0  # not every account may read it


class Watcher:
    """Looks again and again; each look is a Snapshot whose rates go back to the look before."""

    def __init__(self, kafka: KafkaConfig, data_dir: Path | None, top: int, trust: TrustConfig | None = None) -> None:
        self._data_dir = data_dir
        self._top = top
        info = self._stack()
        if info is not None:
            kafka = info.kafka
        self._cluster = Cluster(kafka)
        self._before: Offsets | None = None
        self._usage: dict[int, Usage] = {}
        trust = trust or TrustConfig()
        if info is not None and not trust.keys_dir:
            trust = TrustConfig(keys_dir=info.keys_dir)
        self._shown = Shown(trust.keys())
        self._verdicts = Followed(kafka, topics.VERDICTS, self._shown.record.take_word)
        self._audit = Followed(kafka, topics.AUDIT, self._shown.proposals.put)
        self._halts = Followed(kafka, topics.HALTS, self._shown.record.take_halt)

    def _stack(self) -> StackInfo | None:
        if self._data_dir is None:
            return None
        info = stack.running(self._data_dir)
        if info is None and datadir.is_locked(self._data_dir):
            raise AndonError(
                f"the line in {self._data_dir} is starting or stopping: its log is in logs/andon.log there"
            )
        if info is None:
            raise AndonError(
                f"nothing runs in {self._data_dir}: start it with `andon up`, "
                "or name a cluster with --bootstrap-servers"
            )
        return info

    def look(self) -> Snapshot:
        """Raises AndonError when the line or its broker is gone."""
        info = self._stack()
        partitions = self._cluster.partitions()
        offsets = self._cluster.offsets()
        before = self._before or offsets
        # What a heartbeat names stands on the other topic before it does: in this order nothing seems to be missing.
        self._verdicts.refresh(partitions.get(topics.VERDICTS.name, 0), CATCH_UP_SECONDS)
        self._halts.refresh(partitions.get(topics.HALTS.name, 0), CATCH_UP_SECONDS)
        tail = {at: max(0, end - NEWEST_ENTRIES) for at, end in offsets.end.items()}
        self._audit.refresh(partitions.get(topics.AUDIT.name, 0), AUDIT_SECONDS, tail)
        used = {pid: found for pid in (info.pids.values() if info else ()) if (found := usage(pid))}
        now_ms, seconds = wall_clock_ms(), offsets.at_seconds - before.at_seconds
        top = snapshot.top_verdicts(self._shown.verdicts(now_ms), self._top)
        record = self._shown.record
        doubts = {doubt.key: doubt.words for doubt in record.doubts()}
        seen = Snapshot(
            at=now_ms,
            bootstrap_servers=self._cluster.bootstrap_servers,
            data_dir=str(self._data_dir or ""),
            stages=snapshot.stage_rows(info, self._usage, used, seconds, now_ms),
            topics_per_second=snapshot.produced_per_second(before, offsets),
            groups=snapshot.group_rows(before, offsets),
            fleets=self._shown.beats(),
            alarms=self._shown.alarms(),
            halts=snapshot.halt_rows(record.halts, now_ms, doubts, record.verdicts.values()),
            proposals=self._shown.proposals.open(record.halts, now_ms),
            unknown=snapshot.unknown_rows(record),
            verifies=self._shown.verifies,
            verdicts=top.verdicts,
            verdicts_total=top.total,
            updates_total=top.updates,
            problems=self._problems(partitions, before, offsets, now_ms),
        )
        self._before, self._usage = offsets, used
        return seen

    def _problems(self, partitions: dict[str, int], before: Offsets, offsets: Offsets, now_ms: int) -> list[str]:
        missing = [topic.name for topic in topics.ALL if topic.name not in partitions]
        problems = [f"missing topics: {', '.join(missing)}; `andon topics apply` creates them"] if missing else []
        problems += self._shown.problems(now_ms)
        if before is not offsets:
            problems += [
                f"{topic}[{number}]: an open transaction holds back {counted(count, 'record')}; "
                "`andon doctor` says whose it is"
                for (topic, number), count in sorted(snapshot.held_back(before, offsets).items())
            ]
        problems += [f"{group}: how far it has come is unknown: {why}" for group, why in offsets.untold.items()]
        return problems

    def close(self) -> None:
        """Leave the cluster."""
        for reader in (self._verdicts, self._halts, self._audit, self._cluster):
            reader.close()
