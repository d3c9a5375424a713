"""The gate on records as they come: each state, what is said, and that no order or disturbance opens what is halted."""

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.rollout_world import (
    ASKED,
    HOUR_MS,
    NOW,
    STRANGER,
    TRUSTED,
    Message,
    alarm,
    altered,
    beat,
    feed,
    gate_of,
    halt,
    instead,
    verdict,
)  # fmt: skip

from consumers.rollout.gate import Knowledge
from pipeline.halt.safety import FRESH_MS
from pipeline.wire import topics

KEY = ASKED.halt_key
CUT: dict[str, object] = {"standing_total": 2}  # a heartbeat that counts one halt more than it names
OTHER = KEY.replace("291", "292")
ALARMED = ("unattributed_alarm",)
STEP_MS = FRESH_MS + 10_000  # so that of two heartbeats only the newer one can be fresh

CASES: list[tuple[list[Message], str, str, str]] = [
    ([], "silent", "DETECTOR_SILENT", "no heartbeat"),
    ([instead(beat(), None)], "silent", "DETECTOR_SILENT", "no heartbeat"),
    ([beat(fleet="Acme")], "silent", "DETECTOR_SILENT", "that it lives; there are heartbeats of Acme"),
    ([beat()], "unseen", "NOT_ENOUGH_DATA", "no verdict on this version in this ring"),
    ([beat(), verdict(ring="canary")], "unseen", "NOT_ENOUGH_DATA", "it has one in canary"),
    ([beat(), verdict(vendor="CrowdStrike")], "unseen", "NOT_ENOUGH_DATA", "there is acme/CrowdStrike/"),
    ([beat(), verdict(version="290")], "unseen", "NOT_ENOUGH_DATA", "crowdstrike/falcon-content has one on 290"),
    ([beat(), verdict(vendor="crowdstrik")], "unseen", "NOT_ENOUGH_DATA", "did you mean acme/crowdstrik/falcon-conte"),
    ([beat(), verdict()], "cleared", "CLEARED", "cleared in this ring: 3 crashed hosts, 9,120 exposed trials"),
    ([beat(stream_time=NOW - HOUR_MS), verdict()], "cleared", "CLEARED", "no report of the last 60 min has come"),
    ([beat(), verdict("watching")], "watching", "WATCHING", "how much is missing is not known yet"),
    ([beat(), verdict("watching", needs_trials=41_000)], "watching", "WATCHING", "needs 41,000 more trials;"),
    ([beat(flags=ALARMED), verdict(), alarm()], "alarmed", "WATCHING", "152 hosts crashed since 2024-07-19 03:09Z"),
    ([beat(flags=ALARMED), verdict(), alarm()], "alarmed", "WATCHING", "none of them named: v/p/1 (on 90, 10^3.1)"),
    ([beat(flags=ALARMED), alarm()], "alarmed", "WATCHING", "most with 0x50 / csagent.sys (140)"),
    ([beat(flags=ALARMED), verdict()], "alarmed", "WATCHING", "the record that says more is not there"),
    ([beat(flags=ALARMED), verdict(), alarm(key=None)], "alarmed", "WATCHING", "is not there"),
    ([beat(), verdict(), alarm()], "cleared", "CLEARED", "cleared in this ring"),
    ([beat(), verdict(vendor="-", product="alarm")], "unseen", "NOT_ENOUGH_DATA", "no verdict on this version"),
    ([beat(flags=ALARMED), verdict(), alarm(), halt()], "halted", "HALTED", "5 hosts crashed"),
    ([beat(flags=ALARMED), verdict(), alarm(), halt(2, "resume")], "resumed", "CLEARED", "resumed by"),
    ([beat(NOW - HOUR_MS, flags=ALARMED), verdict(), alarm()], "silent", "DETECTOR_SILENT", "old"),
    (
        [beat(), verdict("halted", flags=("doubtful",), doubted_for=("v/p/2",)), halt()],
        "halted", "HALTED", "later evidence speaks for v/p/2 instead; the halt stands until people lift it",
    ),
    ([beat(), verdict("shadow_halted")], "shadow_watched", "WATCHING", "in shadow"),
    ([beat(), verdict("pending")], "pending", "HALTED", "waits for a person"),
    ([beat(), verdict(), verdict("pending", ring="canary")], "pending", "HALTED", "(in ring canary)"),
    ([beat(), verdict("halted")], "said_halted", "HALTED", "has not been read yet, as in the first second of a halt"),
    ([beat(), verdict("resumed")], "said_halted", "HALTED", "has not been read yet, as in the first second of a halt"),
    ([beat(), verdict(key=STRANGER)], "unverifiable", "HALTED", "a key that is not trusted"),
    ([beat(), verdict(key=None)], "unverifiable", "HALTED", "does not match"),
    ([beat(), verdict(), instead(verdict(), b"junk")], "unverifiable", "HALTED", "is none"),
    ([beat(), altered(verdict("watching"), b"watching", b"cleared")], "unverifiable", "HALTED", "does not match"),
    ([altered(beat(NOW - HOUR_MS), b"events", b"Events"), verdict()], "silent", "DETECTOR_SILENT", "no heartbeat"),
    ([beat(), verdict(), altered(halt(2), b'"halt"', b'"resume"')], "doubtful", "HALTED", "does not match"),
    ([beat(), verdict(at=NOW + HOUR_MS)], "ahead", "DETECTOR_SILENT", "60 min ahead"),
    ([beat(NOW - 31_000), verdict()], "silent", "DETECTOR_SILENT", "31 s old"),
    ([beat(NOW + 2 * HOUR_MS), verdict()], "silent", "DETECTOR_SILENT", "one of the two clocks is wrong"),
    ([beat(key=STRANGER), verdict()], "silent", "DETECTOR_SILENT", "no heartbeat"),
    ([beat(flags=("stream_time_ahead",)), verdict()], "deaf", "DETECTOR_SILENT", "stream_time_ahead"),
    ([beat(flags=("halt_records_unread",)), verdict()], "deaf", "DETECTOR_SILENT", "halt_records_unread"),
    ([beat(standing=None), verdict()], "untold", "DETECTOR_SILENT", "older version"),
    ([beat(), verdict(), halt()], "halted", "HALTED", "halted in every ring by andon: 5 hosts crashed"),
    ([beat(NOW - HOUR_MS), verdict(), halt()], "halted", "HALTED", "halted in every ring"),
    ([beat(), verdict(), halt(rings=("broad",))], "halted", "HALTED", "halted in broad"),
    ([beat(), verdict(), halt(rings=("canary",))], "cleared", "CLEARED", "cleared"),
    ([beat(), verdict(), halt(expires_at=NOW)], "halt_expired", "DETECTOR_SILENT", "ended 0 s ago"),
    ([beat(), verdict(), instead(halt(), None)], "doubtful", "HALTED", "erased"),
    ([beat(), verdict(), halt(key=STRANGER)], "doubtful", "HALTED", "not trusted"),
    ([beat(), verdict(), instead(halt(), b"{}")], "doubtful", "HALTED", "is none"),
    ([beat(NOW, (KEY, 1)), verdict()], "doubtful", "HALTED", "names it as halted"),
    ([beat(standing_total=1_001), verdict()], "doubtful", "HALTED", "counts halts that no record shows"),
    ([beat(NOW, (OTHER, 1), **CUT), verdict(), halt(version="292")], "doubtful", "HALTED", "counts halts that no"),
    ([beat(NOW, (OTHER, 1), **CUT), verdict(), halt(version="292"), halt(version="3")], "cleared", "CLEARED", ""),
    (
        [beat(NOW, (OTHER, 1), **CUT), verdict(), halt(version="292"), halt(2, "resume", issued_at=NOW + 1)],
        "resumed", "CLEARED", "resumed by",
    ),
    ([beat(), verdict(), halt(), halt(2, "resume")], "resumed", "CLEARED", "resumed by ann, bob for 60 min"),
    ([beat(), verdict("halted"), halt(2, "resume")], "resumed", "CLEARED", "resumed by"),
    ([beat(), verdict("pending"), halt(2, "resume")], "resumed", "CLEARED", "resumed by"),
    ([beat(), verdict("pending", at=NOW + 1), halt(2, "resume")], "pending", "HALTED", "waits for a person"),
    ([beat(NOW - HOUR_MS), verdict(), halt(2, "resume")], "silent", "DETECTOR_SILENT", "60 min old"),
    ([beat(), verdict(), halt(2, "resume", expires_at=NOW)], "resume_expired", "HALTED", "stands again"),
    ([beat(), verdict(), halt(2, "resume", rings=("canary",))], "resume_elsewhere", "HALTED", "names other rings"),
    ([beat(), verdict(), halt(2), halt(1, "resume")], "halted", "HALTED", "halted in every ring"),
    ([beat(), verdict(), halt(2), halt(2, "resume", issued_at=NOW + 1)], "halted", "HALTED", "halted in"),
    ([beat(NOW, (KEY, 2)), verdict(), halt(2, "resume")], "doubtful", "HALTED", "names it as halted"),
    ([beat(), verdict(), halt(2, "resume", key=STRANGER)], "doubtful", "HALTED", "not trusted"),
]  # fmt: skip


@pytest.mark.parametrize(("records", "rule", "state", "said"), CASES)
def test_each_case(records: list[Message], rule: str, state: str, said: str) -> None:
    """The rule, the state and what people are told; and only CLEARED is a yes."""
    decision = gate_of(*records).decide(ASKED, NOW)
    assert (decision.rule, decision.state) == (rule, state)
    assert said in decision.reason
    assert (decision.permission == "yes") == (state == "CLEARED")


@pytest.mark.parametrize(("records", "rule", "state", "said"), CASES)
def test_before_all_was_read_nothing_is_said(records: list[Message], rule: str, state: str, said: str) -> None:
    """Whatever has come so far: DETECTOR_SILENT; and of a halt that was seen, no choice of the caller's makes a yes."""
    decision = gate_of(*records, read=False).decide(ASKED, NOW)
    assert decision.state == "DETECTOR_SILENT"
    assert decision.permission == ("never" if gate_of(*records).decide(ASKED, NOW).permission == "never" else "silent")
    gate = gate_of(*records)
    gate.lost_track("Kafka is away")
    assert gate.decide(ASKED, NOW).state == "DETECTOR_SILENT"
    assert "Kafka is away" in gate.decide(ASKED, NOW).reason


@pytest.mark.parametrize(("shadow", "state"), [("watching", "WATCHING"), ("halted", "HALTED"), ("cleared", "CLEARED")])
def test_what_shadow_is_taken_for(shadow: str, state: str) -> None:
    """The caller says so; a halt that stands is one for every caller."""
    records = beat(), verdict("shadow_halted")
    assert gate_of(*records, shadow=shadow).decide(ASKED, NOW).state == state  # type: ignore[arg-type]
    assert gate_of(*records, halt(), shadow=shadow).decide(ASKED, NOW).state == "HALTED"  # type: ignore[arg-type]


def test_names_compare_letter_by_letter() -> None:
    """Another case is another update, as everywhere: neither its halt nor its clearance is this one's."""
    gate = gate_of(beat(), verdict(), halt(vendor="CROWDSTRIKE"))
    assert gate.decide(ASKED, NOW).state == "CLEARED"
    assert gate.decide(ASKED._replace(vendor="CROWDSTRIKE"), NOW).state == "HALTED"
    assert gate.decide(ASKED._replace(ring="Broad"), NOW).state == "NOT_ENOUGH_DATA"


def test_how_long_it_may_take() -> None:
    """From the trials that came between two verdicts: 600 in two minutes, 1,500 are missing: five minutes."""
    gate = gate_of(
        beat(), verdict("watching", at=NOW - 120_000, exposed_trials=400, needs_trials=2_000),
        verdict("watching", exposed_trials=1_000, needs_trials=1_500),
    )  # fmt: skip
    decision = gate.decide(ASKED, NOW)
    assert (decision.missing_trials, decision.missing_seconds) == (1_500, 300)
    assert "needs 1,500 more trials, about 5 min at this rate" in decision.reason


def test_hostile_text_is_data() -> None:
    """Braces, sequences and marks in a reason come out as they are: what is printed is escaped by who prints."""
    text = "{unread} {0} \x1b[2J‮%s"
    assert text in gate_of(halt(reason=text)).decide(ASKED, NOW).reason


# -- any order, any disturbance

OPS = st.sampled_from(["halt", "renew", "resume", "other", "beat", "pending", "cleared"])
NOISE = st.sampled_from(["forged", "forged_resume", "altered", "tombstone", "junk", "replay", "flipped"])


class History:
    """What the correlator and operators said, one thing every STEP_MS; at the end a verdict and a heartbeat."""

    def __init__(self, ops: list[str]) -> None:
        self.messages: list[Message] = []
        self.epoch, self.action, self.others = 0, "", 0
        self.now = NOW
        for op in [*ops, "cleared", "beat"]:
            self.now += STEP_MS
            self.messages += self._said(op)

    def _said(self, op: str) -> list[Message]:
        times = {"issued_at": self.now, "expires_at": self.now + 24 * HOUR_MS}
        if op in ("halt", "resume", "renew"):
            if op != "renew" or self.action != "halt":
                self.epoch += 1
                self.action = "resume" if op == "resume" else "halt"
            return [halt(self.epoch, self.action, **times)]
        if op == "other":
            self.others += 1
            return [halt(1, version=f"other-{self.others}", **times)]
        if op == "beat":
            own = [(KEY, self.epoch)] if self.action == "halt" else []
            others = [(KEY.replace("291", f"other-{n + 1}"), 1) for n in range(self.others)]
            return [beat(self.now, *own, *others)]
        return [verdict(op, at=self.now)]

    @property
    def is_halted(self) -> bool:
        """Whether the newest word on the update is a halt."""
        return self.action == "halt"


def noise(kind: str, target: Message) -> Message:
    """What somebody who may write the topics, but has no key, can put there."""
    topic, key, value = target
    if kind in ("forged", "forged_resume"):
        return halt(99, "halt" if kind == "forged" else "resume", key=STRANGER)
    if kind == "replay":
        return target
    if kind == "altered":
        return altered(halt(98), b'"halt"', b'"resume"')
    if kind == "flipped" and value:
        middle = len(value) // 2
        return topic, key, value[:middle] + bytes([value[middle] ^ 1]) + value[middle + 1 :]
    return topic, key, None if kind == "tombstone" else b"junk"


def compacted(log: list[Message]) -> list[Message]:
    """The last record of each key."""
    newest = {message[:2]: number for number, message in enumerate(log)}
    return [message for number, message in enumerate(log) if newest[message[:2]] == number]


def merged(log: list[Message], choices: Iterator[bool]) -> Iterator[Message]:
    """Both topics as a reader may get them: each in its order, one against the other as it comes."""
    halts = [message for message in log if message[0] == topics.HALTS.name]
    words = [message for message in log if message[0] != topics.HALTS.name]
    while halts and words:
        yield (halts if next(choices) else words).pop(0)
    yield from (*halts, *words)


def flips(data: st.DataObject) -> Iterator[bool]:
    """As many coin flips as wanted."""
    bits = data.draw(st.integers(0, 2**64 - 1))
    while True:
        bits = (bits * 6_364_136_223_846_793_005 + 1_442_695_040_888_963_407) % 2**64
        yield bool(bits >> 63)


@settings(max_examples=300)
@given(ops=st.lists(OPS, max_size=12), data=st.data())
def test_nothing_opens_what_stands_halted(ops: list[str], data: st.DataObject) -> None:
    """Replays, forgeries, tombstones, junk at any place, compacted in part or not, read in any interleaving: with a
    halt standing the answer is never a yes, nor one that a caller could make a yes; and no epoch ever goes back."""
    history = History(ops)
    log = list(history.messages)
    for kind in data.draw(st.lists(NOISE, max_size=6)):
        target = data.draw(st.sampled_from(history.messages))
        log.insert(data.draw(st.integers(0, len(log))), noise(kind, target))
    if data.draw(st.booleans()):
        cut = data.draw(st.integers(0, len(log)))
        log = compacted(log[:cut]) + log[cut:]
    if data.draw(st.booleans()):
        log = compacted(log)
    if data.draw(st.booleans()):
        log = [message for message in compacted(log) if message[2] is not None]  # tombstones go, too, in time
    if data.draw(st.integers(0, 3)) == 3:
        log = [message for message in log if message[1] != KEY.encode()]  # the topic has lost it
    gate, epoch = Knowledge(TRUSTED), 0
    for message in merged(log, flips(data)):
        feed(gate, message)
        held = gate.record.halts.get(KEY)
        assert epoch <= (held.epoch if held else 0)
        epoch = held.epoch if held else 0
    gate.caught_up()
    decision = gate.decide(ASKED, history.now)
    if history.is_halted:
        assert decision.state in ("HALTED", "DETECTOR_SILENT")
        # Where records of the halt are gone and the heartbeat too, nobody can know of it.
        assert decision.permission == "never" or decision.rule == "silent"
        assert gate.decide(ASKED, history.now + 48 * HOUR_MS).permission != "yes"
    if decision.permission == "yes":
        assert history.epoch == 0 or history.action == "resume"


@settings(max_examples=150)
@given(ops=st.lists(OPS, max_size=12), data=st.data())
def test_the_order_of_two_topics_does_not_matter(ops: list[str], data: st.DataObject) -> None:
    """Undisturbed, each topic in its order, whichever comes first: one and the same decision, compacted or not; and
    it is what was said last."""
    history = History(ops)
    whole = gate_of(*history.messages).decide(ASKED, history.now)
    log = compacted(history.messages) if data.draw(st.booleans()) else history.messages
    assert gate_of(*merged(log, flips(data))).decide(ASKED, history.now) == whole
    assert whole.state == ("HALTED" if history.is_halted else "CLEARED")


@settings(max_examples=150)
@given(ops=st.lists(OPS, max_size=10), data=st.data())
def test_no_order_says_more_than_the_right_one(ops: list[str], data: st.DataObject) -> None:
    """Shuffled at will, repeated at will: a yes only where the right order says yes; once halted at the highest epoch
    that was seen, halted."""
    history = History(ops)
    shuffled = data.draw(st.permutations(history.messages + data.draw(st.lists(st.sampled_from(history.messages)))))
    found = gate_of(*shuffled).decide(ASKED, history.now)
    if history.is_halted:
        assert (found.state, found.permission) == ("HALTED", "never")
    else:
        assert found.state == "CLEARED" or found.rule in ("doubtful", "pending")
