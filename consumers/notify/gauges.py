"""What stands halted, as gauges: who has not answered, what still spreads, which resumes end. Pure."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from consumers.notify.alerts import STANDS
from pipeline.halt.safety import SafetyRecord
from pipeline.halts.facts import UNANSWERED as SILENT
from pipeline.halts.facts import Row
from pipeline.runtime import metrics
from pipeline.runtime.logging import printable
from pipeline.runtime.metrics import Family, Series
from pipeline.wire.record_keys import parse_key
from pipeline.wire.spans import HOUR_MS
from pipeline.wire.verdicts import Verdict

UPDATE_PARTS = 4
MAX_UPDATES = 200  # that gauges name
WORST = ("halted", "pending", "shadow_halted", "watching", "resumed", "cleared")
LIVE_MS = 7 * 24 * HOUR_MS  # no event lists an update for longer: a verdict that is older is of one that is gone


def gauges(
    rows: Sequence[Row], since_ms: Mapping[str, int], record: SafetyRecord
) -> Iterator[tuple[Family, list[Series]]]:
    """Each family with its series, those first that matter most. `since_ms`: by halt key, unix ms."""
    yield metrics.HEARTBEAT, [((printable(fleet),), beat.at / 1000) for fleet, beat in sorted(record.beats.items())]
    yield metrics.FLEET_EVENTS, [((printable(fleet),), beat.events) for fleet, beat in sorted(record.beats.items())]
    alarmed = sorted(fleet for fleet in record.beats if record.is_alarmed(fleet))
    yield metrics.FLEET_ALARM, [((printable(fleet),), float(fleet in alarmed)) for fleet in sorted(record.beats)]
    told = ((fleet, record.alarm_of(fleet)) for fleet in alarmed)
    yield metrics.FLEET_ALARM_RISE, [((printable(fleet),), alarm.rise) for fleet, alarm in told if alarm is not None]
    yield from _live(verdict for verdict in record.verdicts.values() if _is_live(verdict, record))
    states = Counter((_parts(row)[0], row.state) for row in rows if row.state != "none")
    yield metrics.HALT_STATES, [(of, count) for of, count in sorted(states.items())]
    yield from _obedience(rows)
    standing = sorted((row for row in rows if row.state in STANDS), key=lambda row: -since_ms[row.key])
    yield metrics.STANDS_SINCE, list(_updates(standing, {row.key: since_ms[row.key] / 1000 for row in standing}))
    rates = {row.key: rate for row in standing if (rate := _rate(row)) is not None}
    yield metrics.SPREADING, list(_updates([row for row in standing if row.key in rates], rates))
    doubtful = [row for row in standing if row.doubted_for]
    yield metrics.DOUBTFUL, list(_updates(doubtful, {row.key: 1.0 for row in doubtful}))
    pending = [row for row in rows if row.state == "pending"]
    yield metrics.PENDING_SINCE, list(_updates(pending, {row.key: since_ms[row.key] / 1000 for row in pending}))
    ends = {row.key: row.halt.expires_at / 1000 for row in rows if row.state == "resumed" and row.halt is not None}
    yield metrics.RESUME_ENDS, list(_updates([row for row in rows if row.key in ends], ends))


def _rate(row: Row) -> float | None:
    """None while nobody knows: a zero would say that it does not spread."""
    return 0.0 if row.flat_since else row.spreading_hosts_per_minute


def _is_live(verdict: Verdict, record: SafetyRecord) -> bool:
    """As far as the fleet's newest heartbeat tells the time."""
    beat = record.beats.get(verdict.fleet)
    return beat is None or verdict.state == "halted" or verdict.at > beat.at - LIVE_MS


def _live(verdicts: Iterable[Verdict]) -> Iterator[tuple[Family, list[Series]]]:
    """Of the updates with the most evidence, by the ring that has it; the rest is counted."""
    worst: dict[tuple[str, ...], Verdict] = {}
    states: Counter[tuple[str, ...]] = Counter()
    stands: dict[tuple[str, ...], int] = {}
    for verdict in verdicts:
        of = tuple(map(printable, (verdict.fleet, verdict.vendor, verdict.product, verdict.version)))
        states[of[0], verdict.state] += 1
        stands[of] = min(stands.get(of, len(WORST)), WORST.index(verdict.state))
        known = worst.get(of)
        if known is None or verdict.log10_evidence > known.log10_evidence:
            worst[of] = verdict
    ranked = sorted(worst.items(), key=lambda each: -each[1].log10_evidence)
    shown, unnamed = ranked[:MAX_UPDATES], ranked[MAX_UPDATES:]
    rest = Counter(of[0] for of, _ in unnamed)
    most = {of[0]: verdict.log10_evidence for of, verdict in reversed(unnamed)}
    yield metrics.VERDICT_STATES, sorted(states.items())
    yield metrics.EVIDENCE, [(of, verdict.log10_evidence) for of, verdict in shown]
    yield metrics.UPDATE_STATE, [((*of, WORST[stands[of]]), 1.0) for of, _ in shown]
    yield metrics.THRESHOLD, [(of, verdict.threshold) for of, verdict in shown]
    rated = [(of, verdict) for of, verdict in shown if verdict.exposed_trials]
    yield (
        metrics.CRASHES_PER_TRIAL,
        [
            ((*of, arm), crashes / verdict.exposed_trials)
            for of, verdict in rated
            for arm, crashes in (("exposed", verdict.observed), ("expected", verdict.expected))
        ],
    )
    yield metrics.UPDATES_NOT_SHOWN, [((of[0],), rest[of[0]]) for of in sorted({of[:1] for of in worst})]
    yield metrics.EVIDENCE_NOT_SHOWN, [((fleet,), evidence) for fleet, evidence in sorted(most.items())]


def _obedience(rows: Sequence[Row]) -> Iterator[tuple[Family, list[Series]]]:
    """By fleet and subscriber: a zero where nothing is owed, so that a series that is missing means something."""
    silent: Counter[tuple[str, str]] = Counter()
    owing: Counter[tuple[str, str]] = Counter()
    took: dict[tuple[str, str], tuple[int, float]] = {}
    for row in rows:
        for each in row.obeyed:
            of = _parts(row)[0], printable(each.subscriber)
            stands = row.state in STANDS and row.halt is not None and row.halt.action == "halt"
            silent[of] += stands and each.status == SILENT
            owing[of] += stands and not each.has_confirmed and each.status != "ignored"
            if row.halt is not None and row.halt.action == "halt" and each.seconds_to_confirmed is not None:
                took[of] = max(took.get(of, (0, 0.0)), (row.halt.issued_at, each.seconds_to_confirmed))
    yield metrics.UNANSWERED, sorted(silent.items())
    yield metrics.UNCONFIRMED, sorted(owing.items())
    yield metrics.CONFIRM_SECONDS, [(of, seconds) for of, (_, seconds) in sorted(took.items())]


def _updates(rows: Sequence[Row], values: Mapping[str, float]) -> Iterator[Series]:
    for row in rows:
        parts = _parts(row)
        if len(parts) == UPDATE_PARTS:
            yield parts, values[row.key]


def _parts(row: Row) -> tuple[str, ...]:
    return tuple(map(printable, parse_key(row.key)))
