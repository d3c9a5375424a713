"""`andon deadletter list|show|retry`: look at refused messages, and send them again once what was wrong is right."""

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime

import click
from rich import box
from rich.table import Table
from rich.text import Text

from consumers.deadletter.original import Originals
from consumers.deadletter.retry import Retrier, genuine, obstacle
from consumers.deadletter.topic import RETRIED, Letter, LetterBox, LetterPlace
from pipeline.runtime.config import configured
from pipeline.runtime.console import stdout_console
from pipeline.runtime.errors import AndonError, ConfigError
from pipeline.runtime.kafka import KafkaConfig
from pipeline.runtime.logging import printable
from pipeline.runtime.say import say, say_json
from pipeline.runtime.wrong import did_you_mean
from pipeline.wire.reasons import Reason
from pipeline.wire.words import counted

NEWEST = 10_000
SHOWN_BYTES = 4096
REASONS = (*map(str, Reason), RETRIED)
STAGES = ("collect", "combine", "correlate")  # that write letters to the topic

_newest = click.option(
    "--newest", default=NEWEST, show_default=True, type=click.IntRange(1), help="Records of a partition to look at."
)
_reason = click.option("--reason", "reasons", multiple=True, help="Only letters refused for this; may be given often.")
_stage = click.option("--stage", default="", help="Only letters of this stage.")


@click.group("deadletter")
def command() -> None:
    """Refused messages: list them, show one, send them again."""


@command.command("list")
@_newest
@_reason
@_stage
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1), help="Letters to show, the newest.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a letter.")
@configured(("kafka", KafkaConfig))
def list_(kafka: KafkaConfig, newest: int, reasons: tuple[str, ...], stage: str, limit: int, as_json: bool) -> None:
    """What was refused, why, and where it came from."""
    _warn_of_unknown(reasons, stage)
    with closing(LetterBox(kafka)) as box_:
        letters, retried, counts = _survey(box_, box_.window(newest), _wanted(reasons, stage), limit)
    if as_json:
        for letter in letters:
            record = {"place": str(letter.place), "at": letter.at_ms, "bytes": len(letter.value)}
            more = {"origin": letter.origin, "retried": letter.place in retried}
            say_json(letter.headers | record | more)
        return
    table = Table("place", "at", "reason", "stage", "from", "bytes", "detail", box=box.SIMPLE_HEAD)
    for letter in letters:
        reason = letter.reason + (" (retried)" if letter.place in retried else "")
        cells = (reason, letter.headers.get("stage", ""), letter.origin, f"{len(letter.value):,}")
        detail = letter.headers.get("detail", "")[:120]
        table.add_row(str(letter.place), _at(letter), *(Text(printable(cell)) for cell in (*cells, detail)))
    stdout_console().print(table)
    said = ", ".join(f"{count:,} {printable(reason)}" for reason, count in counts.most_common())
    stdout_console().print(Text(counted(counts.total(), "letter") + (f": {said}" if said else "")))


@command.command("show")
@click.argument("place", metavar="PARTITION:OFFSET")
@click.option("--raw", is_flag=True, help="Only the message's bytes, untouched, to standard output.")
@configured(("kafka", KafkaConfig))
def show(kafka: KafkaConfig, place: str, raw: bool) -> None:
    """One letter in full; its bytes escaped, unless --raw."""
    at = _place(place)
    with closing(LetterBox(kafka)) as box_:
        low, high = box_.window(sys.maxsize).get(at.partition, (0, 0))
        span = {at.partition: (at.offset, at.offset + 1)} if low <= at.offset < high else {}
        letter = next((one for one in box_.read(span) if one.place == at), None)
    if letter is None:
        raise AndonError(f"no letter at {at}: expired, or never there")
    if raw:
        if sys.stdout.isatty():
            raise ConfigError("--raw: bytes as they came could drive this terminal: send them to a file or a pipe")
        sys.stdout.buffer.write(letter.value)
        return
    for name, text in {"at": _at(letter), "from": letter.origin, **letter.headers}.items():
        say(f"{printable(name):<10} {printable(text)}")
    say(f"{'key':<10} {printable((letter.key or b'').decode('utf-8', 'backslashreplace'))}")
    say(f"{'bytes':<10} {len(letter.value):,}\n")
    say(printable(letter.value[:SHOWN_BYTES].decode("utf-8", "backslashreplace")))
    if len(letter.value) > SHOWN_BYTES:
        say(f"… {len(letter.value) - SHOWN_BYTES:,} bytes more: --raw")


@command.command("retry")
@click.argument("places", metavar="[PARTITION:OFFSET]...", nargs=-1)
@_newest
@_reason
@_stage
@click.option("--all", "every", is_flag=True, help="Every letter that is looked at.")
@click.option("--again", is_flag=True, help="Also those that were retried before.")
@click.option("--force", is_flag=True, help="The one letter that is named, whatever stands where it came from.")
@click.option("--dry-run", is_flag=True, help="Only say what would be sent.")
@configured(("kafka", KafkaConfig))
def retry(
    kafka: KafkaConfig,
    places: tuple[str, ...],
    newest: int,
    reasons: tuple[str, ...],
    stage: str,
    every: bool,
    again: bool,
    force: bool,
    dry_run: bool,
) -> None:
    """Send the original bytes to the topic that they came from, once each. Exit code 1 when some could not be sent.

    A letter goes only if it is what still stands where it says that it came from. What differs, or is gone, is named
    by itself, with --force; a partial is named by itself.
    """
    if not (places or reasons or stage or every):
        raise ConfigError("name letters (PARTITION:OFFSET), a --reason, a --stage, or --all")
    _warn_of_unknown(reasons, stage)
    chosen = {_place(text) for text in places}
    if force and len(chosen) != 1:
        raise ConfigError("--force: name one letter (PARTITION:OFFSET), and no other, once you have seen it")
    matches = _wanted(reasons, stage)

    def named(letter: Letter) -> bool:
        return not chosen or letter.place in chosen

    def wanted(letter: Letter) -> bool:
        return named(letter) and matches(letter)

    with closing(LetterBox(kafka)) as box_, closing(Originals(kafka)) as originals:
        spans = _spans(box_, newest, chosen)
        found, retried, _ = _survey(box_, spans, named, len(chosen))
        skipped = Counter(_left_out(chosen, found, matches))
        before = set() if again else retried
        sendable = _sendable(box_.read(spans), wanted, before, kafka.topic_prefix, len(chosen) == 1, skipped)
        letters = genuine(sendable, originals, force, skipped)
        retrier = None if dry_run else Retrier(kafka, box_.topic)
        sent = sum(retrier.retry(letters)) if retrier else sum(1 for _ in letters)
    say(f"{sent:,} {'would be sent' if dry_run else 'sent again'}")
    for why, count in skipped.most_common():
        say(f"{count:,} not: {printable(why)}", err=True)
    if skipped.total() - skipped[_BEFORE]:
        raise SystemExit(1)


_BEFORE = "retried before (--again)"


def _left_out(chosen: set[LetterPlace], found: list[Letter], matches: Callable[[Letter], bool]) -> Iterator[str]:
    """Why, for each letter that was named and is not there, or is not one of those asked for."""
    letters = {letter.place: letter for letter in found if letter.reason != RETRIED}
    for at in sorted(chosen):
        if at not in letters:
            yield f"no such letter at {at}: expired, never there, or the marker of a retry"
        elif not matches(letters[at]):
            yield f"{at} has reason {letters[at].reason}, stage {letters[at].headers.get('stage', '')}"


def _sendable(
    letters: Iterator[Letter],
    wanted: Callable[[Letter], bool],
    retried: set[LetterPlace],
    prefix: str,
    is_alone: bool,
    skipped: Counter[str],
) -> Iterator[Letter]:
    for letter in letters:
        if letter.reason == RETRIED or not wanted(letter):
            continue
        why = _BEFORE if letter.place in retried else obstacle(letter, prefix, is_alone)
        if why is None:
            yield letter
        else:
            skipped[why] += 1


def _survey(
    letter_box: LetterBox, spans: dict[int, tuple[int, int]], wanted: Callable[[Letter], bool], limit: int
) -> tuple[list[Letter], set[LetterPlace], Counter[str]]:
    """The newest letters (no more than `limit` are held), what was retried, and how many of each reason."""
    kept: list[Letter] = []
    retried: set[LetterPlace] = set()
    counts: Counter[str] = Counter()
    for letter in letter_box.read(spans):
        if (marked := letter.marks(letter_box.topic)) is not None:
            retried.add(marked)
        elif wanted(letter):
            counts[letter.reason] += 1
            kept.append(letter)
            del kept[: -limit or len(kept)]
    return kept, retried, counts


def _spans(letter_box: LetterBox, newest: int, chosen: set[LetterPlace]) -> dict[int, tuple[int, int]]:
    """The newest records; letters that are named are found wherever they are, with every marker after them."""
    spans = letter_box.window(newest if not chosen else sys.maxsize)
    if chosen:
        first = {at.partition: min(one.offset for one in chosen if one.partition == at.partition) for at in chosen}
        spans = {part: (max(low, first[part]), high) for part, (low, high) in spans.items() if part in first}
    return spans


def _wanted(reasons: tuple[str, ...], stage: str) -> Callable[[Letter], bool]:
    return lambda letter: (not reasons or letter.reason in reasons) and stage in ("", letter.headers.get("stage", ""))


def _warn_of_unknown(reasons: tuple[str, ...], stage: str) -> None:
    """That no letter has a misspelt reason says nothing of the right one."""
    for word, known, what in (*((reason, REASONS, "reason") for reason in reasons), (stage, STAGES, "stage")):
        if word and word not in known:
            say(f"warning: no {what} of ours is called {printable(word)}{did_you_mean(word, known)}", err=True)


def _place(text: str) -> LetterPlace:
    try:
        return LetterPlace.parse(text)
    except ValueError:
        raise ConfigError(f"{text!r}: should be PARTITION:OFFSET, as `andon deadletter list` prints it") from None


def _at(letter: Letter) -> str:
    return datetime.fromtimestamp(letter.at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
