"""The gate's decision table: what is known of an update and a ring, and what follows. Data; the first rule that fits
holds. docs/rollout.md shows it, as a test prints it.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple

State = Literal["HALTED", "CLEARED", "WATCHING", "NOT_ENOUGH_DATA", "DETECTOR_SILENT"]
# May the rollout go on? `yes`; `wait`, and ask again; `silent`: nobody knows, so what the caller chose for silence
# holds, which is to wait unless they chose otherwise; `never`: no choice makes it a yes.
Permission = Literal["yes", "wait", "silent", "never"]

# Every fact, with its values and what they mean.
FACTS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "topics": {
            "read": "both topics have been read to their committed end",
            "unread": "not yet, or no longer",
        },
        "record": {
            "none": "`fleet.halts` has no record of the update that is to be believed",
            "halt": "a halt stands that names the ring, or `*`",
            "halt_expired": "the same, past its expiry",
            "halt_elsewhere": "a halt stands that names other rings only",
            "resume": "a resume that names the ring, or `*`; its epoch is above the halt's",
            "resume_expired": "the same, past its expiry",
            "resume_elsewhere": "a resume that names other rings only",
        },
        "doubt": {
            "no": "the newest record of the update is as it was signed",
            "yes": "it was erased, forged, replayed, or is missing: the heartbeat names or counts it",
        },
        "detector": {
            "heard": "the fleet's newest heartbeat is signed, and within 30 s of this clock",
            "silent": "there is none such",
            "deaf": "it says that the detector does not hear all (`stream_time_ahead`, `halt_records_unread`)",
            "untold": "it does not say what stands halted",
        },
        "verdict": {
            "none": "there is none for this ring",
            "unverifiable": "its newest record is not to be believed",
            "ahead": "it is dated more than a minute ahead of this clock",
            "pending": "in any ring, newer than a resume: decided, and waits for a person",
            "halted": "",
            "resumed": "",
            "shadow_halted": "",
            "cleared": "",
            "watching": "",
        },
        "alarm": {
            "none": "the fleet's newest heartbeat names no alarm",
            "sounding": "it does (`unattributed_alarm`): the fleet crashes far more than ever, for no known reason",
        },
        "shadow": {
            "watching": "what the caller takes `shadow_halted` for, unless told otherwise",
            "halted": "",
            "cleared": "",
        },
    }
)


class Facts(NamedTuple):
    """One value of each fact."""

    topics: str
    record: str
    doubt: str
    detector: str
    verdict: str
    alarm: str
    shadow: str


class Rule(NamedTuple):
    """Fits when each fact that it names has one of the values; `reason` is a sentence with places to fill."""

    name: str
    when: Mapping[str, tuple[str, ...]]
    state: State
    permission: Permission
    reason: str

    def fits(self, facts: Facts) -> bool:
        """Whether it does."""
        return all(getattr(facts, fact) in values for fact, values in self.when.items())


_STANDS = ("halt", "halt_expired", "resume_expired", "resume_elsewhere")

RULES: tuple[Rule, ...] = (
    # Nothing is known before all was read; but a halt that was seen is one until a resume is seen.
    Rule(
        "halt_seen", {"topics": ("unread",), "record": _STANDS}, "DETECTOR_SILENT", "never",
        "{unread}; a halt of epoch {epoch} was seen",
    ),
    Rule(
        "doubt_seen", {"topics": ("unread",), "doubt": ("yes",)}, "DETECTOR_SILENT", "never",
        "{unread}; of its halt record, {doubt}",
    ),
    Rule(
        "verdict_seen", {"topics": ("unread",), "verdict": ("pending", "unverifiable")}, "DETECTOR_SILENT", "never",
        "{unread}; a verdict was seen that waits for a person, or is not to be trusted",
    ),
    Rule(
        "said_halted_seen",
        {"topics": ("unread",), "record": ("none", "halt_elsewhere"), "verdict": ("halted", "resumed")},
        "DETECTOR_SILENT", "never", "{unread}; a verdict was seen that is {verdict}",
    ),
    Rule("unread", {"topics": ("unread",)}, "DETECTOR_SILENT", "silent", "{unread}"),
    # Halted, whether or not the detector lives.
    Rule("halted", {"record": ("halt",)}, "HALTED", "never", "halted in {rings} by {decided_by}: {because}{doubted}"),
    Rule("doubtful", {"doubt": ("yes",)}, "HALTED", "never", "its halt record cannot be trusted: {doubt}"),
    Rule(
        "unverifiable", {"verdict": ("unverifiable",)}, "HALTED", "never",
        "the verdict on this ring cannot be trusted: {refused}",
    ),
    Rule(
        "resume_expired", {"record": ("resume_expired",)}, "HALTED", "never",
        "the resume by {decided_by} ended {expired} ago: the halt stands again",
    ),
    Rule(
        "resume_elsewhere", {"record": ("resume_elsewhere",)}, "HALTED", "never",
        "the resume by {decided_by} names other rings: {rings}",
    ),
    Rule(
        "pending", {"verdict": ("pending",)}, "HALTED", "never",
        "the halt is decided and waits for a person (in ring {pending}): evidence {evidence}",
    ),
    Rule(
        "halt_expired", {"record": ("halt_expired",)}, "DETECTOR_SILENT", "never",
        "the halt in {rings} ended {expired} ago and was not renewed: only a resume lifts it, no expiry does",
    ),
    Rule(
        "said_halted", {"record": ("none", "halt_elsewhere"), "verdict": ("halted", "resumed")}, "HALTED", "never",
        "the verdict is {verdict}, and the record behind it has not been read yet, as in the first second of a halt or "
        "a resume, or names other rings: until it has, this counts as halted",
    ),
    # Who says so must live, and hear.
    Rule("silent", {"detector": ("silent",)}, "DETECTOR_SILENT", "silent", "{silent}{fleets}"),
    Rule("deaf", {"detector": ("deaf",)}, "DETECTOR_SILENT", "silent", "the detector does not hear all: {flags}"),
    Rule(
        "untold", {"detector": ("untold",)}, "DETECTOR_SILENT", "silent",
        "the heartbeat does not say what stands halted: the correlator is of an older version",
    ),
    # Permission.
    Rule("resumed", {"record": ("resume",)}, "CLEARED", "yes", "resumed by {decided_by} for {left} more: {because}"),
    Rule(
        "ahead", {"verdict": ("ahead",)}, "DETECTOR_SILENT", "silent",
        "the verdict on this ring is dated {ahead} ahead of this clock",
    ),
    Rule(
        "shadow_halted", {"verdict": ("shadow_halted",), "shadow": ("halted",)}, "HALTED", "never",
        "it would be halted, were it not in shadow: {found}",
    ),
    # While a fleet crashes for no known reason no update is known not to be it; a person may know better: see resumed.
    Rule("alarmed", {"alarm": ("sounding",)}, "WATCHING", "wait", "{alarm}"),
    Rule("cleared", {"verdict": ("cleared",)}, "CLEARED", "yes", "cleared in this ring: {found}"),
    # Not yet.
    Rule(
        "shadow_passes", {"verdict": ("shadow_halted",), "shadow": ("cleared",)}, "CLEARED", "yes",
        "halted in shadow only, which the caller lets pass: {found}",
    ),
    Rule(
        "shadow_watched", {"verdict": ("shadow_halted",)}, "WATCHING", "wait",
        "it would be halted, were it not in shadow: {found}",
    ),
    Rule("watching", {"verdict": ("watching",)}, "WATCHING", "wait", "not decided: {missing}; {found}"),
    Rule(
        "unseen", {"verdict": ("none",)}, "NOT_ENOUGH_DATA", "wait",
        "the detector has no verdict on this version in this ring{elsewhere}",
    ),
)  # fmt: skip


def rule_for(facts: Facts) -> Rule:
    """The first that fits; for every facts there is one."""
    return next(rule for rule in RULES if rule.fits(facts))
