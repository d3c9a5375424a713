"""Plain words for people: what an alert says of a halt, and what it is known by."""

from collections.abc import Sequence

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from support.rollout_world import DETECTOR, NAMES, NOW, STRANGER, TRUSTED, Message, alarm, beat, halt, instead, verdict

from consumers.notify.alerts import MAX_TEXT_CHARS, Alert, alerts_of
from pipeline.halt.believe import TrustedKey
from pipeline.halt.signing import SigningKey
from pipeline.halts.facts import row_of, rows
from pipeline.halts.known import Known
from pipeline.wire import topics
from pipeline.wire.acks import HaltAck, encode_ack
from pipeline.wire.halts import Evidence
from pipeline.wire.verdicts import Explanation

KEY = "/".join(NAMES.values())
EVIDENCE = Evidence(
    log10_evidence=8.2, threshold=6.0, basis="concurrent", observed=5, expected=0.001, relative_risk=(40.0, 9_000.0),
    crashed_hosts=5, exposed_trials=800, explanation=Explanation("pooled"), stream_time=NOW,
)  # fmt: skip


def told(
    *messages: Message, trusted: dict[str, TrustedKey] = TRUSTED, acks: Sequence[HaltAck] = ()
) -> dict[str, Alert]:
    """The alerts of the update, by name."""
    known = Known(trusted, KEY)
    for topic, key, value in messages:
        (known.put_halt if topic == topics.HALTS.name else known.put_word)(key, value)
    for ack in acks:
        known.put_ack(ack.halt_key.encode(), encode_ack(ack))
    known.settle()
    return {a.labels["alertname"]: a for a in alerts_of(row_of(known, KEY, NOW + 1), NOW, {"runbook_url": "http://r"})}


def firing(alerts: dict[str, Alert]) -> set[str]:
    """The names of those that fire."""
    return {name for name, alert in alerts.items() if alert.fires}


def test_a_halt_is_told_in_one_sentence() -> None:
    """Which update, where, when, why, who has stopped, whether it spreads, and what to ask next."""
    subscribers = {name: SigningKey(Ed25519PrivateKey.generate()) for name in ("mdm", "intune", "jamf")}
    trusted = TRUSTED | {key.kid: TrustedKey(key.public, "subscriber", name) for name, key in subscribers.items()}
    said = {"halt_key": KEY, "epoch": 1, "status": "confirmed", "at": NOW + 900}
    acks = [subscribers[name].sign_word(HaltAck(subscriber=name, **said)) for name in ("mdm", "intune")]
    found = told(
        halt(1, evidence=EVIDENCE), verdict("halted", spreading_hosts_per_minute=12.0), beat(NOW, (KEY, 1)),
        trusted=trusted, acks=acks,
    )["AndonHalt"]  # fmt: skip
    assert found.fires
    assert found.annotations["description"] == (
        "crowdstrike/falcon-content/291 halted in acme, ring *, 04:09:00 UTC: 5 hosts crashed where fewer than 0.01 "
        "were expected; 2 of 3 rollout systems have stopped; still spreading: 12 hosts/min; "
        "andon halts why crowdstrike/falcon-content/291 --fleet acme"
    )
    assert found.annotations["runbook_url"] == "http://r"
    assert "jamf has NOT answered" in found.annotations["obeyed"]


def test_what_changes_is_no_label() -> None:
    """Renewal, another ring, another epoch: the same alert."""
    first = told(halt(1, evidence=EVIDENCE))["AndonHalt"]
    later = told(halt(3, evidence=EVIDENCE, rings=("broad", "early"), issued_at=NOW + 5))["AndonHalt"]
    assert first.identity == later.identity == told(halt(2, "resume"))["AndonHalt"].identity
    assert dict(first.identity) == {"alertname": "AndonHalt", "severity": "critical", **NAMES}


@pytest.mark.parametrize(
    ("messages", "wanted"),
    [
        ([halt(1)], {"AndonHalt"}),
        ([halt(1, expires_at=NOW)], {"AndonHalt"}),
        ([halt(1), instead(halt(1), None)], {"AndonHalt"}),
        ([halt(1), halt(2, "resume", key=STRANGER)], {"AndonHalt"}),
        ([beat(NOW, (KEY, 1))], {"AndonHalt"}),
        ([halt(1), halt(2, "resume")], set()),
        ([halt(1), halt(2, "resume", expires_at=NOW)], {"AndonHalt"}),
        ([verdict("pending")], {"AndonHaltPending"}),
        ([halt(1), halt(2, "resume"), verdict("pending", at=NOW + 1)], {"AndonHaltPending"}),
        ([verdict("shadow_halted")], set()),
    ],
    ids=[
        "halt",
        "expired",
        "erased",
        "forged",
        "missing",
        "resumed",
        "resume-over",
        "pending",
        "pending-again",
        "shadow",
    ],
)
def test_nothing_but_a_resume_of_two_operators_resolves(messages: list[Message], wanted: set[str]) -> None:
    """Silence, an erased or a forged record leave it firing."""
    assert firing(told(*messages)) == wanted


def test_what_people_ordered_is_told_as_theirs() -> None:
    """A halt by hand has no figures; a resume names who lifted it."""
    forced = told(halt(1, decided_by="operator:ann", reason="a vendor's word"))["AndonHalt"]
    assert "by operator:ann: a vendor's word" in forced.annotations["description"]
    resumed = told(halt(1), halt(2, "resume", reason="a false alarm"))["AndonHalt"]
    assert resumed.annotations["summary"] == "crowdstrike/falcon-content/291 resumed in acme"
    assert "by operator:ann, operator:bob: a false alarm" in resumed.annotations["description"]


def test_hostile_names_and_words_stay_text_and_bounded() -> None:
    """Control characters are escaped, in labels too; a command can be pasted; nothing is longer than it may be."""
    version = "1;\x1b[2J$(x)\u202e"
    known = Known(TRUSTED)
    topic, key, value = halt(1, version=version, reason="\n" * 3_000, decided_by="operator:\x07")
    known.put_halt(key, value)
    known.settle()
    (found, _) = alerts_of(row_of(known, key.decode(), NOW), NOW, {})
    texts = [*found.labels.values(), *found.annotations.values()]
    assert topic == topics.HALTS.name
    assert all(text.isprintable() and len(text) <= MAX_TEXT_CHARS for text in texts)
    assert "'crowdstrike/falcon-content/1;" in found.annotations["why"]
    assert DETECTOR.kid not in "".join(texts)


def test_a_halt_in_doubt_says_for_whom() -> None:
    """In the sentence and by itself; not once people have lifted it, nor of one that nobody doubts."""
    doubtful = verdict("halted", flags=("doubtful",), doubted_for=("v/p/2",))
    found = told(halt(1), doubtful, beat())["AndonHalt"].annotations
    assert "later evidence speaks for v/p/2 instead" in found["description"]
    assert found["doubtful"].startswith("doubtful: ")
    assert "doubtful" not in told(halt(1), verdict("halted"), beat())["AndonHalt"].annotations
    assert "doubtful" not in told(halt(1), halt(2, "resume"), doubtful, beat())["AndonHalt"].annotations


def test_an_alarm_of_the_fleet_is_no_halt() -> None:
    """`andon notify` tells of halts: the alarm's record makes no row, whoever signed it, and is no update's."""
    known = Known(TRUSTED)
    for _, key, value in [alarm(), beat(flags=("unattributed_alarm",)), verdict(vendor="-", product="alarm")]:
        known.put_word(key, value)
    known.settle()
    assert rows(known, NOW + 1) == []
    assert known.named == {"acme/-/alarm/291"}
