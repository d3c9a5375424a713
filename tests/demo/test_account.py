"""The demo's account: its figures are the ledger's and the halt topic's, and its exit code follows them."""

import fcntl
import os
import pty
import re
import shutil
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from support.waiting import DEADLINE_SECONDS

from consumers.clickhouse.ask.named import queries
from consumers.rollout.gate import Knowledge
from consumers.rollout.orders import Order, Orders
from pipeline.demo.account import Account, UpdateFigures, counted, lines, power, settle, span
from pipeline.demo.watch import Watch
from pipeline.halt.believe import TrustedKey
from pipeline.halt.signing import SigningKey
from pipeline.local import guide
from pipeline.local.stack import StackInfo
from pipeline.simulate import scenario as scenarios
from pipeline.simulate.run import Run
from pipeline.simulate.scenario import Scenario, unix_ms
from pipeline.simulate.simulation import Simulation, without_halts
from pipeline.simulate.tail import ReceivedRecord
from pipeline.wire.acks import HaltAck, encode_ack
from pipeline.wire.halts import Evidence, Halt, encode_halt
from pipeline.wire.partials import UpdateId
from pipeline.wire.record_keys import update_key, verdict_key
from pipeline.wire.verdicts import Explanation, Verdict, encode_verdict

ROOT = Path(__file__).parents[2]
JULY = scenarios.load("crowdstrike-2024-07-19", hosts=2_000)
GUILTY = UpdateId("crowdstrike", "falcon-content", "291")
INNOCENT = UpdateId("zoom", "workplace", "6.1.5")
KEY = SigningKey(Ed25519PrivateKey.generate())
ROLLOUT = SigningKey(Ed25519PrivateKey.generate())
TRUSTED = {KEY.kid: TrustedKey(KEY.public), ROLLOUT.kid: TrustedKey(ROLLOUT.public, "subscriber", "rollout")}
RELEASE_MS = unix_ms(JULY.incident_at)
DECIDED_MS = RELEASE_MS + 200_000
STOPPED_MS = RELEASE_MS + 300_000
ISSUED_MS = 10**12
LAST_MS = DECIDED_MS + 129_000


class Topics:
    """Records as a Tail hands them out."""

    def __init__(self) -> None:
        self.waiting: list[ReceivedRecord] = []

    def take(self) -> Iterator[ReceivedRecord]:
        while self.waiting:
            yield self.waiting.pop(0)


class Nowhere:
    """A sink for events that nobody reads."""

    def send(self, key: bytes, value: bytes) -> None: ...
    def serve(self) -> None: ...
    def settle(self) -> None: ...


def halt_record(update: UpdateId, key: SigningKey = KEY) -> ReceivedRecord:
    """A signed halt of every ring."""
    evidence = Evidence(
        log10_evidence=7.0,
        threshold=6.0,
        basis="concurrent",
        observed=12,
        expected=0.1,
        relative_risk=(20.0, 400.0),
        crashed_hosts=12,
        exposed_trials=40,
        explanation=Explanation("signature", "0x50", "csagent.sys"),
        stream_time=DECIDED_MS,
    )
    halt = Halt(
        action="halt",
        fleet="acme",
        vendor=update.vendor,
        product=update.product,
        version=update.version,
        rings=("*",),
        epoch=1,
        issued_at=ISSUED_MS,
        expires_at=ISSUED_MS + 1,
        decided_by="andon",
        policy="p",
        reason="12 hosts crashed",
        evidence=evidence,
        kid="",
    )
    return ReceivedRecord("fleet.halts", halt.key.encode(), encode_halt(key.sign(halt)), 10**13)


def ack_record(update: UpdateId, key: SigningKey = ROLLOUT) -> ReceivedRecord:
    """That its halt is obeyed, 1.5 s after the decision."""
    name = update_key("acme", *update)
    ack = HaltAck(halt_key=name, epoch=1, subscriber="rollout", status="confirmed", at=1_500 + ISSUED_MS)
    return ReceivedRecord("fleet.halt-acks", name.encode(), encode_ack(key.sign_word(ack)), 0)


def verdict_record(
    update: UpdateId, log10_evidence: float, key: SigningKey = KEY, last_install: int = 0
) -> ReceivedRecord:
    """A signed verdict on an update in a ring."""
    verdict = Verdict(
        fleet="acme",
        vendor=update.vendor,
        product=update.product,
        version=update.version,
        ring="broad",
        state="watching",
        at=0,
        log10_evidence=log10_evidence,
        threshold=6.0,
        basis="concurrent",
        observed=0,
        expected=0.0,
        relative_risk=(0.0, 1.0),
        crashed_hosts=0,
        exposed_trials=0,
        explanation=Explanation("pooled"),
        last_install=last_install,
    )
    name = verdict_key("acme", *update, "broad")
    return ReceivedRecord("fleet.verdicts", name.encode(), encode_verdict(key.sign_word(verdict)), 0)


class Library:
    """Hands over what the library would, from the same records."""

    def __init__(self, topics: Topics, watch: Watch) -> None:
        self._topics, self._watch, self._gate = topics, watch, Knowledge(TRUSTED)
        self._orders = Orders(self._gate.record, ["acme"])

    def orders(self) -> list[Order]:
        """And the watch reads them, too."""
        for record in self._topics.waiting:
            if record.topic == "fleet.halts":
                self._gate.take_halt(record.key, record.value)
        self._watch.read()
        return [order for held in self._orders.changes(0).values() for order in held]


def play(scenario: Scenario, *halts: ReceivedRecord, seed: int = 2) -> Account:
    """The scenario with those halts arriving five minutes after the release."""
    topics = Topics()
    watch = Watch(topics, TRUSTED)  # type: ignore[arg-type]
    run = Run(Simulation(scenario, seed), Nowhere(), Library(topics, watch).orders)
    run.until(STOPPED_MS)
    for verdict in (verdict_record(INNOCENT, 0.4), verdict_record(INNOCENT, 1.25), verdict_record(INNOCENT, -3.0)):
        topics.waiting.append(verdict)
    topics.waiting += halts
    run.until(run.simulation.end_ms)
    return settle(run, watch, seed, 1.0)


@pytest.fixture(scope="module")
def halted() -> Account:
    """July, its guilty update halted."""
    return play(JULY, halt_record(GUILTY), ack_record(GUILTY), verdict_record(GUILTY, 9.0, last_install=LAST_MS))


def test_figures_are_the_ledgers(halted: Account) -> None:
    """Lost, lost without the halt and spared agree with two independent simulations."""
    (guilty,) = (update for update in halted.updates if update.guilty)
    alone = without_halts(JULY, 2, unix_ms(JULY.account_at)).lost(GUILTY)
    assert guilty.lost_without_halt == alone
    assert 0 < guilty.lost < alone / 4
    assert guilty.spared == alone - guilty.lost
    assert guilty.halt is not None
    assert guilty.halt.crashed_hosts == 12
    assert 0 < guilty.halt.down_hosts <= guilty.lost
    assert (guilty.halt.subscriber, guilty.halt.status) == ("rollout", "confirmed")
    assert (guilty.halt.seconds_to_confirmed, guilty.halt.seconds_to_last_install) == (1.5, 129.0)
    assert guilty.halt.event_seconds == (guilty.halt.stopped_at - RELEASE_MS) / 1000
    assert STOPPED_MS <= guilty.halt.stopped_at <= STOPPED_MS + 60_000
    assert halted.failures == ()


def test_the_words_carry_the_figures(halted: Account) -> None:
    """What a person reads is what was measured, and the innocent's highest evidence stands beside it."""
    text = "\n".join(lines(halted))
    (guilty,) = (update for update in halted.updates if update.guilty)
    found = f"{guilty.lost:,} hosts", f"{guilty.spared:,} hosts", "0x50 / csagent.sys", "10^7.0", "05:27"
    obeyed = "confirmed by rollout, 1,500 ms after the decision", "installation 2 min 9 s after the crash that decided"
    for figure in (*found, *obeyed):
        assert figure in text
    assert "zoom/workplace/6.1.5" in text
    assert "10^1.2" in text or "10^1.3" in text
    assert "FAILED" not in text


def quick(update: UpdateFigures) -> UpdateFigures:
    """Its halt as one on a live line: here it is received by a clock of its own."""
    assert update.halt is not None
    halt = msgspec.structs.replace(update.halt, wall_seconds=12.345, crashed_hosts=1, down_hosts=25_562)
    return msgspec.structs.replace(update, halt=halt)


def test_the_account_fits_a_terminal_of_80_columns(halted: Account) -> None:
    """Nothing wraps in its box, so the columns stay columns; one host is not "1 hosts"."""
    loudest = msgspec.structs.replace(halted.updates[0], name="microsoft/cumulative-update/kb5040442", guilty=False)
    few = [msgspec.structs.replace(update, reached=1, lost=1, lost_without_halt=2) for update in halted.updates]
    few = [update if update.halt is None else quick(update) for update in few]
    words = lines(msgspec.structs.replace(halted, updates=(*few, loudest)))
    assert max(map(len, words)) <= 80 - len("│  " + "  │")
    assert not re.search(r"\b1 hosts", "\n".join(words))
    start = words.index(next(line for line in words if line.startswith("Untouched")))
    reached = [line.index(" host") for line in words[start + 1 : start + 6]]
    assert len(set(reached)) == 1
    lost = [line.index(" host", 40) for line in lines(halted) if line.startswith(("  lost", "  spared"))]
    assert len(lost) == 3
    assert len(set(lost)) == 1
    assert [counted(n, "crash", 3) for n in (0, 1, 2)] == ["  0 crashes", "  1 crash", "  2 crashes"]


LONG = "An innocent update is pushed to every host at once; two hours later every host crashes five times as often"
TOLD = """
import sys, msgspec
from pipeline.demo.account import Account
from pipeline.demo.act import Pace
from pipeline.demo.presenter import Presenter
shown = Presenter(0, None, False)
shown.say("04:12:03 UTC  HALT crowdstrike/falcon-content/291 in *, signed by 0d1fd8372b0ee7cb: 5 hosts crashed, fewer")
shown._present(msgspec.json.decode(sys.argv[1], type=Account))
"""


def told(account: Account, columns: int | None, **environ: str) -> list[str]:
    """What the demo prints of it, on a terminal of so many columns, or (None) into a file."""
    argv = [sys.executable, "-c", TOLD, msgspec.json.encode(account).decode()]
    environment = {k: v for k, v in os.environ.items() if k != "COLUMNS"} | environ
    if columns is None:
        done = subprocess.run(argv, stdout=subprocess.PIPE, env=environment, check=True, timeout=DEADLINE_SECONDS)
        return done.stdout.decode().splitlines()
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    running = subprocess.Popen(argv, stdout=theirs, env=environment)
    os.close(theirs)
    found = b""
    with suppress(OSError):  # so a terminal ends that nobody has open any more
        while block := os.read(ours, 65536):
            found += block
    os.close(ours)
    assert running.wait(DEADLINE_SECONDS) == 0
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", found.decode()).splitlines()


@pytest.mark.service
@pytest.mark.parametrize(
    ("columns", "environ", "width"),
    [(80, {}, 80), (132, {}, 100), (None, {}, 100), (None, {"COLUMNS": "72"}, 72), (None, {"COLUMNS": "200"}, 100)],
)
def test_a_box_is_as_wide_as_its_place_and_no_line_of_it_breaks(
    halted: Account, columns: int | None, environ: dict[str, str], width: int
) -> None:
    """On a terminal, and in a file, where COLUMNS is minded; a title and names may be longer than a line."""
    longest = msgspec.structs.replace(halted.updates[-1], name="vendor/" + "product-" * 6 + "/1.2.3.4", guilty=False)
    shown = told(msgspec.structs.replace(halted, title=LONG, updates=(*halted.updates, longest)), columns, **environ)
    start = next(n for n, line in enumerate(shown) if line.startswith("╭"))
    assert {len(line) for line in shown[start:]} == {width}
    assert all(line[0] + line[-1] in ("╭╮", "││", "╰╯") for line in shown[start:])
    box = " ".join(" ".join(line.strip("│ ") for line in shown[start:]).split())
    assert LONG in box
    assert longest.name in box
    said = shown[:start]
    if columns is None:
        assert len(said) == 1
    else:
        assert max(map(len, said)) <= columns
    assert " ".join(" ".join(said).split()).endswith("0d1fd8372b0ee7cb: 5 hosts crashed, fewer")


@pytest.mark.parametrize(("keep", "kept"), [(False, False), (False, True), (True, False)])
def test_every_ending_of_the_demo_names_queries_and_pages(keep: bool, kept: bool) -> None:
    """Of a line that is left: queries of the guide that need only the fleet, its settings, and how to come back to it.
    Of one that is not, how to get one. Pages that are there; and the command is one that can be run from here."""
    info = StackInfo(supervisor_pid=1, started_at=0, data_dir="/a b", fleet="acme", bootstrap_servers="h:1", stages={})
    words = guide.after_demo(info, Path("/a b/correlate/keys"), ["quiet-week"], keep=keep, kept=kept)
    named = re.findall(r"andon query (\S+) --param fleet=acme", words)
    assert len(named) == (3 if keep or kept else 0)
    assert all(list(queries()[name].parameters) == ["fleet"] for name in named)
    assert (ROOT / "docs" / "analysts.md").is_file()
    assert f"## {guide.HALTS_SECTION}\n" in (ROOT / "README.md").read_text("utf-8")
    for text in ("docs/analysts.md", guide.HALTS_SECTION, "quiet-week"):
        assert text in words
    (program,) = set(re.findall(r"(\S*andon) demo", words))
    assert shutil.which(program) is not None
    assert ("andon demo --keep" in words and "andon up " in words) == (not keep and not kept)
    assert (". '/a b/env'" in words) == ("andon status" in words) == (keep or kept)
    assert ("andon up --data-dir '/a b'" in words) == kept


def test_a_guilty_update_that_nobody_halted_is_a_failure() -> None:
    """Without a halt everybody is lost, and the account says so."""
    account = play(JULY)
    (guilty,) = (update for update in account.updates if update.guilty)
    assert guilty.lost == guilty.lost_without_halt
    assert account.failures == ("crowdstrike/falcon-content/291 is guilty and was not halted",)
    assert "NOT halted" in "\n".join(lines(account))


def test_an_innocent_update_that_was_halted_is_a_failure() -> None:
    """A false halt is named even when the guilty update was halted as well."""
    account = play(JULY, halt_record(GUILTY), halt_record(INNOCENT))
    assert account.failures == ("zoom/workplace/6.1.5 is innocent and was halted",)


def test_a_forged_halt_is_reported_and_lets_nothing_through() -> None:
    """What no trusted key signed is no halt, and the account fails; the rollout waits all the same."""
    account = play(JULY, halt_record(GUILTY, SigningKey(Ed25519PrivateKey.generate())))
    (guilty,) = (update for update in account.updates if update.guilty)
    assert (guilty.halt, guilty.lost < guilty.lost_without_halt) == (None, True)
    assert account.failures[-1] == "records of fleet.halts that are not to be believed: 1 (unknown_key)"
    assert len(account.failures) == 2


def test_a_forged_acknowledgement_is_none() -> None:
    """Nobody has obeyed by it, and that somebody said so is a failure."""
    account = play(JULY, halt_record(GUILTY), ack_record(GUILTY, SigningKey(Ed25519PrivateKey.generate())))
    assert "  not acknowledged" in lines(account)
    assert "  last reported installation: unknown" in lines(account)
    assert account.failures == ("records of fleet.halt-acks that are not to be believed: 1 (unknown_key)",)


def test_forged_evidence_is_not_shown_and_is_reported() -> None:
    """A verdict that no trusted key signed is no evidence; that somebody said so is a failure."""
    account = play(JULY, halt_record(GUILTY), verdict_record(INNOCENT, 300.0, SigningKey(Ed25519PrivateKey.generate())))
    (innocent,) = (update for update in account.updates if update.name == "/".join(INNOCENT))
    assert innocent.log10_evidence == 1.25
    assert account.failures == ("records of fleet.verdicts that are not to be believed: 1 (unknown_key)",)


def test_without_a_fault_there_is_nothing_to_halt() -> None:
    """The same night with the fault removed: no losses, no failure, and the account says so."""
    innocent = tuple(msgspec.structs.replace(update, fault=None) for update in JULY.updates)
    account = play(msgspec.structs.replace(JULY, updates=innocent))
    assert account.failures == ()
    assert not any(update.guilty or update.lost for update in account.updates)
    assert "nothing to halt" in "\n".join(lines(account))
    accused = play(msgspec.structs.replace(JULY, updates=innocent), halt_record(GUILTY))
    assert accused.failures == ("crowdstrike/falcon-content/291 is innocent and was halted",)


def test_durations_and_evidence_for_people() -> None:
    """Units change with size."""
    assert [span(s) for s in (0.25, 59.9, 61, 3_700)] == ["0.2 s", "59.9 s", "1 min 1 s", "1 h 1 min"]
    assert [power(x) for x in (None, 6.04, -0.5, -0.04)] == ["none", "10^6.0", "10^-0.5", "10^0.0"]
