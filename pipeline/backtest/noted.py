"""What a backtest says about its input: what was refused, mended, understood or of no use, with the first example of
each. A reader of the result sees what it does not rest on."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
from rich.text import Text

from pipeline.runtime.console import SafeConsole
from pipeline.runtime.logging import printable
from pipeline.wire.mending import Mends
from pipeline.wire.noted import Noted
from pipeline.wire.spans import MINUTE_MS
from pipeline.wire.verdicts import FleetAlarm
from pipeline.wire.words import ENDED, HALF_BLIND, alarm_words, counted, doubted_words

SHOWN_CHARS = 200  # of a line that is an example
SHOWN_FLEETS = SHOWN_ALARMS = 5
NAMED_FLEETS = 100
SHOWN_BLIND = 3  # updates


class Example(NamedTuple):
    """The first line of its kind: its number among all that were read (0 if unknown), what is wrong, how it begins."""

    line: int
    detail: str
    text: str


class InputNotes:
    """Counts by word, and the first example of each."""

    def __init__(self) -> None:
        self.forms: Counter[str] = Counter()  # of files
        self.refused: Counter[str] = Counter()  # lines, by reason
        self.mended: Counter[str] = Counter()
        self.out_of_order = 0
        self.beginning = b""  # of the first lines
        self.cut_off = False  # the last line is the beginning of one
        self.first: dict[str, Example] = {}
        self.alarms: dict[tuple[str, int], FleetAlarm] = {}  # by fleet and beginning, as last told
        self.fleets: dict[str, Mapping[str, Any]] = {}  # the summary of each one's detector

    def refuse(self, reason: str, example: Example, times: int = 1) -> None:
        """So many lines are no events."""
        self.refused[reason] += times
        self.first.setdefault(reason, example)

    def mend(self, mends: Mends, example: Example) -> None:
        """A line is one, mended."""
        for what, times in mends.items():
            if what is Noted.UPDATES_REMOVED:  # as it should be
                continue
            self.mended[what.value] += times
            self.first.setdefault(what.value, example)

    def row(self) -> dict[str, Any]:
        """What the summary of `--json` says of them."""
        fleets = dict(sorted(self.fleets.items())[:NAMED_FLEETS])
        return {
            "rejected_by_reason": dict(self.refused.most_common()),
            "mended": dict(self.mended.most_common()),
            "first": {what: example._asdict() for what, example in self.first.items()},
            "forms": dict(self.forms),
            "out_of_order": self.out_of_order,
            "noted": {fleet: noted["noted"] for fleet, noted in fleets.items()},
            "noted_first": {fleet: noted["noted_first"] for fleet, noted in fleets.items()},
            "clocks_ahead": {fleet: noted["clocks_ahead"] for fleet, noted in fleets.items()},
            "alarms": [_alarm_row(alarm) for alarm in self.alarms.values()],
            "doubtful": {fleet: noted["doubtful"] for fleet, noted in fleets.items()},
            "half_blind": {fleet: noted["half_blind"] for fleet, noted in fleets.items()},
        }

    def show(self, console: SafeConsole) -> None:
        """The same for people, a line each; nothing where there is nothing to say."""
        for text, style in self._sentences():
            console.print(Text(printable(text), style=style), soft_wrap=True)

    def _sentences(self) -> list[tuple[str, str]]:
        said: list[tuple[str, str]] = []
        if self.forms:
            said.append((f"Understood: {_counts(self.forms)}", ""))
        if self.refused:
            said.append((f"{self.refused.total():,} lines refused: {_counts(self.refused)}", "yellow"))
            said += [(f"    {self._example(reason)}", "") for reason in self.refused]
        if self.mended:
            said.append((f"Mended, so that no event is lost: {_counts(self.mended)}", "yellow"))
            said += [(f"    {self._example(what)}", "") for what in self.mended]
        if self.out_of_order:
            late = f"{self.out_of_order:,} events came long after later ones and count where they came: sort the file"
            said.append((late, "yellow"))
        for alarm in list(self.alarms.values())[:SHOWN_ALARMS]:
            said.append((f"Fleet {alarm.fleet}: {alarm_words(alarm)}{_ending(alarm)}", "bold yellow"))
        for fleet, noted in sorted(self.fleets.items())[:SHOWN_FLEETS]:
            unused = {what: times for what, times in noted["noted"].items() if what not in self.mended}
            if unused:
                said.append((f"Set aside in fleet {fleet}, beside what was judged: {_counts(unused)}", ""))
            said += [
                (f"The halt of {update} in fleet {fleet} is {doubted_words(better)}", "bold yellow")
                for update, better in noted["doubtful"].items()
            ]
            if (clocks := noted["clocks_ahead"])["hosts"]:
                said.append((_clocks(fleet, clocks), "yellow"))
            said += [(sentence, "yellow") for sentence in _half_blind(fleet, noted["half_blind"])]
        return said

    def _example(self, what: str) -> str:
        if (example := self.first.get(what)) is None:
            return what
        place = f"first in line {example.line:,}" if example.line else "first"
        return f"{what}, {place}: {example.detail or example.text}"


def _ending(alarm: FleetAlarm) -> str:
    if alarm.state == "sounding":
        return "; it sounds to the end"
    minutes = (alarm.over_at - alarm.since) // MINUTE_MS
    return f"; over after {minutes:,} min ({ENDED[alarm.ended]})"


def _alarm_row(alarm: FleetAlarm) -> dict[str, Any]:
    """Of what it said last, without its signature."""
    found: dict[str, Any] = msgspec.to_builtins(alarm)
    return {name: value for name, value in found.items() if name not in ("v", "kid", "sig", "kind")}


def example_of(number: int, line: bytes, detail: str = "") -> Example:
    """The `number`-th line."""
    return Example(number, detail, line[:SHOWN_CHARS].decode("utf-8", "replace"))


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{times:,} {what}" for what, times in sorted(counts.items(), key=lambda item: -item[1]))


def _clocks(fleet: str, clocks: Mapping[str, Any]) -> str:
    furthest: Sequence[Mapping[str, Any]] = clocks["furthest"]
    named = ", ".join(f"{each['host']} by {each['ahead_seconds']:,} s" for each in furthest[:3])
    return f"Clocks or time zones of {clocks['hosts']:,} hosts of fleet {fleet} are ahead: {named}"


def _half_blind(fleet: str, found: Mapping[str, Any]) -> list[str]:
    """What telemetry does not show of the fleet, and what that costs; a sentence a reason."""
    said = [
        f"Half-blind in fleet {fleet}: {reason} of {counted(each['updates'], 'update')}, such as "
        f"{', '.join(each['such_as'][:SHOWN_BLIND])}: {HALF_BLIND[reason]}"
        for reason, each in found["reasons"].items()
    ]
    if (shared := found["shared_host_names"])["hosts"]:
        said.append(f"Several machines report as {', '.join(shared['such_as'])}, and count as one each")
    return said
