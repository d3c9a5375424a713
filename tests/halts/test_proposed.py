"""A proposal that waits for another operator is seen by whoever looks, until it is completed or taken back."""

import io
from typing import Any

from support.rollout_world import ANN, ASKED, BOB, DETECTOR, NAMES, NOW, TRUSTED, Message, beat, halt, verdict

from pipeline.halts import listing, show
from pipeline.halts.facts import Row, row_of
from pipeline.halts.known import Known
from pipeline.halts.page import Seen, lines
from pipeline.halts.stored import Stored
from pipeline.runtime.console import console
from pipeline.status.snapshot import Snapshot
from pipeline.status.view import Screen
from pipeline.wire.audit import AuditEntry, Place, encode_entry
from pipeline.wire.commands import decode_command
from pipeline.wire.spans import HOUR_MS, MINUTE_MS

KEY = ASKED.halt_key
NOW_5 = NOW + 5 * MINUTE_MS
PROPOSAL = ANN.says(
    "resume", NOW, **NAMES, epoch=1, id="a5a76a121d72", expires_at=NOW + 4 * HOUR_MS, reason="fixed \x1b[2Jin place"
)
PROPOSED = decode_command(PROPOSAL)


def entry(raw: bytes, key: Any = DETECTOR, **other: Any) -> bytes:
    """The answer to a command, as the audit has it."""
    fields = {"seq": 1, "prev": "0" * 64, "at": NOW, "partials": Place(0, 0), "command": raw.decode()} | other
    return encode_entry(key.sign_word(AuditEntry(kind="answer", fleet="acme", **fields)))


def seen(*audit: bytes, now_ms: int = NOW_5, records: tuple[Message, ...] = ()) -> tuple[Row, Known]:
    """What a reader has who read a halt of epoch 1 and this audit."""
    known = Known(TRUSTED, KEY)
    for topic, key, value in (verdict("halted"), halt(), *records):
        (known.put_halt if topic == "fleet.halts" else known.put_word)(key, value)
    known.put_word(*beat(now_ms)[1:])
    for raw in audit:
        known.put_audit(b"acme", raw)
    known.settle()
    row = row_of(known, KEY, now_ms)
    row.proposals = known.proposed(KEY, now_ms)
    return row, known


def screens(row: Row, known: Known, now_ms: int = NOW_5) -> list[str]:
    """List, show, why and status."""
    out = io.StringIO()
    console(out, 100).print(Screen(Snapshot(
        at=now_ms, bootstrap_servers="b", data_dir="", stages=[], topics_per_second={}, groups=[], fleets=[], halts=[],
        verdicts=[], verdicts_total=0, problems=[], proposals=known.proposals.open(known.record.halts, now_ms),
    )))  # fmt: skip
    whole = (
        listing.proposals([row], now_ms, 79),
        show.lines(row, now_ms, 80),
        lines(Seen(row, [], [], Stored(), []), now_ms, 80),
        [out.getvalue()],
    )
    return [" ".join(" ".join(page).replace("\\", "").split()) for page in whole]


def test_whoever_looks_sees_it() -> None:
    """Who proposes what, why and until when, how to complete it and how to take it back; hostile text is escaped."""
    for number, page in enumerate(screens(*seen(entry(PROPOSAL)))):
        for words in ("ann proposes to lift the halt in every ring until 2024-07-19 08:09:00Z", "within 55 min 0 s"):
            assert words in page, number
        assert "andon halts approve a5a76a121d72 --fleet acme --key FILE" in page, number
        assert "\x1b" not in page
        if number < 3:
            assert "andon halts withdraw a5a76a121d72 --fleet acme --reason" in page
    assert "andon halts resume" not in screens(*seen(entry(PROPOSAL)))[2]


def test_what_cannot_be_approved_any_more_is_not_shown() -> None:
    """Refused, completed, withdrawn, overtaken, too old, or said by nobody who may."""
    named = {"approves": PROPOSED.id, "digest": "0" * 64}
    withdrawn = BOB.says("withdraw", NOW, **NAMES, epoch=1, **named)
    for audit, now_ms, records in (
        ([entry(PROPOSAL, outcome="refused", why="expiry")], NOW_5, ()),
        ([entry(PROPOSAL), entry(BOB.approves(PROPOSAL, NOW))], NOW_5, ()),
        ([entry(PROPOSAL), entry(withdrawn)], NOW_5, ()),
        ([entry(PROPOSAL)], NOW_5, (halt(2),)),
        ([entry(PROPOSAL)], NOW + HOUR_MS + 1, ()),
        ([entry(PROPOSAL, key=BOB.key)], NOW_5, ()),
        ([b'{"kind":"answer"}'], NOW_5, ()),
    ):
        row, known = seen(*audit, now_ms=now_ms, records=records)
        assert row.proposals == []
        assert not any("proposes" in page for page in screens(row, known, now_ms))
    refused = entry(withdrawn, outcome="refused", why="unknown_proposal")
    assert [each.id for each in seen(entry(PROPOSAL), refused)[0].proposals] == [PROPOSED.id]
