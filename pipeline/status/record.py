"""The safety record as `andon status` shows it: what is believed of both topics, and what is to be said of the rest."""

from collections import Counter
from collections.abc import Iterator

from pipeline.halt.believe import TrustedKeys
from pipeline.halt.proposals import NEWEST_ENTRIES as NEWEST_ENTRIES  # for who reads
from pipeline.halt.proposals import Proposals
from pipeline.halt.safety import SafetyRecord
from pipeline.wire import topics
from pipeline.wire.record_keys import fleet_of, is_heartbeat, is_of_fleet, update_key
from pipeline.wire.verdicts import CLOCKS_AHEAD, STREAM_TIME_AHEAD, FleetAlarm, FleetHeartbeat, Verdict
from pipeline.wire.words import HALF_BLIND, alarm_words, counted, doubted_words

REASONS = 3  # said of a fleet whose telemetry is half-blind


class Shown:
    """What both topics say to somebody who trusts these keys; no keys at all believe nothing."""

    def __init__(self, trusted: TrustedKeys | None) -> None:
        self.verifies = trusted is not None
        self.record = SafetyRecord(trusted or {})
        self.proposals = Proposals(trusted or {})

    def verdicts(self, now_ms: int) -> dict[str, Verdict]:
        """Those that are believed, by key; none is `cleared` whose fleet's detector is silent."""
        found = self.record.verdicts.items()
        return {key: v for key, v in found if v.state != "cleared" or self.record.is_heard(v.fleet, now_ms)}

    def beats(self) -> list[FleetHeartbeat]:
        """Newest heartbeats, by fleet."""
        return [beat for _, beat in sorted(self.record.beats.items())]

    def alarms(self) -> list[FleetAlarm]:
        """What the fleets' alarms say that sound, by fleet."""
        found = (self.record.alarm_of(fleet) for fleet in sorted(self.record.beats))
        return [alarm for alarm in found if alarm is not None]

    def _doubted(self) -> set[str]:
        """Halts that later evidence speaks against; each once, whatever rings say so."""
        return {
            f"{update_key(v.fleet, v.vendor, v.product, v.version)}: {doubted_words(v.doubted_for)}"
            for v in self.record.verdicts.values()
            if v.doubted_for
        }

    def problems(self, now_ms: int) -> Iterator[str]:
        """In words, for people."""
        if not self.verifies:
            return  # everything is refused, and the screen says why
        refused = {key: why for key, why in self.record.refused.items() if key.count("/")}
        for key, why in sorted(refused.items()):
            if is_of_fleet(key.encode()):
                what = "heartbeat" if is_heartbeat(key.encode()) else "alarm"
                yield f"{fleet_of(key.encode())}: its newest {what} is not believed ({why})"
        count = Counter(why for key, why in refused.items() if not is_of_fleet(key.encode()))
        for why, number in sorted(count.items()):
            verdicts = counted(number, "verdict that is", "verdicts that are")
            yield f"{topics.VERDICTS.name}: {verdicts} not believed, and not shown ({why})"
        for beat in self.beats():
            if self.record.is_alarmed(beat.fleet):
                yield f"{beat.fleet}: {alarm_words(self.record.alarm_of(beat.fleet))}"
        yield from sorted(self._doubted())
        for beat in self.beats():
            if STREAM_TIME_AHEAD in beat.flags:
                yield f"{beat.fleet}: stream time is ahead of the clock: crashes of now count late; see `andon doctor`"
            if CLOCKS_AHEAD in beat.flags:
                words = "clocks of many hosts are ahead: what they install is no evidence"
                yield f"{beat.fleet}: {words}; `andon query unused -p fleet={beat.fleet}`"
        yield from self._half_blind()
        hidden = len(self.record.verdicts) - len(self.verdicts(now_ms))
        if hidden:
            yield f"{topics.VERDICTS.name}: {hidden} cleared, which counts for nothing while the detector is silent"

    def _half_blind(self) -> Iterator[str]:
        """What telemetry does not show of updates, by the flags of their verdicts."""
        found: dict[str, dict[str, set[tuple[str, ...]]]] = {}
        for verdict in self.record.verdicts.values():
            for flag in HALF_BLIND.keys() & set(verdict.flags) - {"sampled"}:
                name = (verdict.vendor, verdict.product, verdict.version)
                found.setdefault(verdict.fleet, {}).setdefault(flag, set()).add(name)
        for fleet, reasons in sorted(found.items()):
            most = sorted(reasons.items(), key=lambda item: (-len(item[1]), item[0]))
            for flag, names in most[:REASONS]:
                yield f"{fleet}: {flag} of {counted(len(names), 'update')}: {HALF_BLIND[flag]}"
