"""Words that screens and records have in common. Pure."""

from collections.abc import Iterable
from datetime import UTC, datetime

from pipeline.wire.verdicts import AlarmSignature, Explanation, FleetAlarm, power_of_ten

NAMED_SUSPECTS = 3
# Why an alarm is over.
ENDED = {"": "", "usual": "as few crash as usual", "named": "a halt explains it", "lasting": "it has lasted for a day"}

# Flags of a verdict that say: telemetry shows less of this than it seems to; and what that costs. `andon halts why`,
# `status` and a backtest show them, docs/design.md has the same table.
HALF_BLIND = {
    "strata_without_trials": "its crashes come from strata (ring, os, model) that no boot or heartbeat names: "
    "the share is guessed from wider groups, at its largest, so it halts later. Let crash reports name what "
    "heartbeats name",
    "strata_move": "os names a build that comes with the update: hosts with it and without it are never in one "
    "stratum, so there is nobody to compare with. Leave the revision out of os",
    "version_per_host": "nearly every host names a version of its own: none is on enough hosts to be judged. Leave "
    "host or build ids out of version",
    "one_product_for_many": "hosts install several versions of this product at once, and only the last counts: a fault "
    "of another is laid to it, or to none. Give each update (KB) a product of its own",
    "only_crashes_list_it": "no clean boot or heartbeat has listed it: who else has it is unknown, and its share may "
    "be far larger than was assumed",
    "shared_host_names": "hosts of one name tell of different models: machines that share a name count as one, so "
    "crashes are missing. The correlator's /state names them",
    "dirty_boot_burst": "many dirty boots in one minute that name neither site nor signature: counted like one site's, "
    "for it may have been a power cut. Send site, or the bugcheck",
    "changed_before_report": "hosts changed this product after the crash and before they told of it: which version "
    "crashed is unknown. Send what was rolled back in `removed`",
    "crashes_cut": "more crashes came at once than a partial lists: the rest is counted and no evidence, of the hosts "
    "without it either, so its evidence is not exact",
    "sampled": "it is told apart from other updates by a sample of the hosts: cut otherwise, the same stream would "
    "give slightly other figures",
}


def counted(number: int, one: str, many: str = "") -> str:
    """A number and what is counted: 1 host, 2 hosts, 1,204 entries; `many` where an s is not enough."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def crashed_words(observed: int, crashed_hosts: int, explanation: Explanation) -> str:
    """The hosts that evidence rests on, and how many crashed in all where those are more: of a signature, or because
    a cap counts no more."""
    if explanation.kind == "silence":
        return f"{counted(observed, 'host')} fell silent where it had just come (inferred: they told of nothing)"
    names = {
        "signature": f" with {explanation.code or '?'} / {explanation.module or '?'}",
        "history": " against history",
    }
    place = names.get(explanation.kind, f" in {', '.join(explanation.strata)}" if explanation.strata else "")
    if observed < crashed_hosts:
        return f"{observed:,} of {counted(crashed_hosts, 'crashed host')}{place}"
    return f"{counted(observed, 'host')} crashed{place}"


def doubted_words(doubted_for: Iterable[str]) -> str:
    """Of a halt that is in doubt: what later evidence speaks for instead; "" of one that is not."""
    named = ", ".join(doubted_for)
    return (
        f"doubtful: on hosts that have only one of the two, later evidence speaks for {named} instead" if named else ""
    )


def _signature(found: AlarmSignature) -> str:
    return f"{found.code or '?'} / {found.module or '?'}"


def alarm_words(alarm: FleetAlarm | None) -> str:
    """An unattributed alarm that sounds, for people; None: its record is not there."""
    if alarm is None:
        return "UNATTRIBUTED ALARM: the fleet crashes far more than it ever did; the record that says more is not there"
    since = datetime.fromtimestamp(alarm.since / 1000, UTC)
    usual = f"{alarm.usual:,.0f}" if alarm.usual >= 10 else f"{alarm.usual:.2g}"
    as_usual = (
        "so many would be much in any fleet; this one was not known"
        if "no_history" in alarm.flags
        else ("as many as in its worst usual hour")
    )
    hosts = f"{counted(alarm.crashed_hosts, 'host')} crashed since {since:%Y-%m-%d %H:%MZ} (event time)"
    parts = [
        f"UNATTRIBUTED ALARM: {hosts} and nobody can be named, where {usual} would be usual ({as_usual}): "
        f"{alarm.rise:,.3g} times as many, {alarm.tolerated_rise:g} are tolerated",
        *[f"most with {_signature(s)} ({s.hosts:,})" for s in alarm.signatures[:1] if s.code or s.module],
        *[f"most in ring {ring.ring} ({ring.hosts:,})" for ring in alarm.rings[:1]],
    ]
    suspects = [
        f"{s.update} (on {s.hosts:,}, {power_of_ten(s.log10_evidence)})" for s in alarm.suspects[:NAMED_SUSPECTS]
    ]
    parts.append(f"listed by most, none of them named: {', '.join(suspects)}" if suspects else "they list no update")
    return "; ".join(parts)
