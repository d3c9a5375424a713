"""Plays the acts of the demo, and tells of them: to a terminal in colour, else in plain lines."""

import os
import sys
import time
from pathlib import Path

from rich.markup import escape
from rich.panel import Panel

from pipeline.demo import stored
from pipeline.demo.account import Account, fitted, lines
from pipeline.demo.act import Act, Pace
from pipeline.demo.rollout import obeying, watching
from pipeline.local import guide
from pipeline.local.stack import StackInfo
from pipeline.runtime.console import console, say_json
from pipeline.simulate import scenario as scenarios
from pipeline.simulate.scenario import Scenario

ARCHIVE_SECONDS = 15.0  # for the events of an act
MOST_COLUMNS = 100  # of a box where no terminal says how many there are
FRAME_COLUMNS = 6  # of a box, around its words
LEAST_COLUMNS = 60  # below that lines break, and nothing else would help


def _columns() -> int:
    """Of a file or a pipe: what COLUMNS says, as a shell exports it, else MOST_COLUMNS."""
    told = os.environ.get("COLUMNS", "")
    return int(told) if told.isdecimal() and int(told) else MOST_COLUMNS


class Presenter:
    """Where the acts are played and told: to a terminal in colour, else in plain lines; as JSON, words go to stderr."""

    def __init__(self, seed: int, pace: Pace, as_json: bool) -> None:
        self._seed, self._pace, self._as_json = seed, pace, as_json
        stream = sys.stderr if as_json else sys.stdout
        self._is_terminal = stream.isatty()
        self._console = console(stream, None if self._is_terminal else _columns())
        self._began = time.monotonic()

    def say(self, text: str) -> None:
        """One line, with the seconds since the demo began."""
        style = "bold red" if "  HALT " in text else ""
        elapsed = f"{time.monotonic() - self._began:6.1f} s"
        for number, line in enumerate(self._folded(text, self._console.width - len(elapsed) - 2)):
            before = " " * len(elapsed) if number else f"[dim]{elapsed}[/dim]"
            self._console.print(f"{before}  {f'[{style}]{escape(line)}[/]' if style else escape(line)}", soft_wrap=True)

    def _folded(self, text: str, columns: int) -> list[str]:
        """Between words, where a terminal would break it anywhere; in a file a line stays one."""
        if not self._is_terminal:
            return [text]
        return fitted(text, max(columns, LEAST_COLUMNS))

    def play(self, acts: list[Scenario], info: StackInfo) -> list[Account]:
        """Every act, with its account."""
        accounts = []
        with watching(info) as watch:
            for scenario in acts:
                with obeying(info, scenario.fleet.name, watch) as line:
                    account = Act(scenario, self._seed, line, self._pace, self.say).play(info.correlate_url)
                self._present(account)
                accounts.append(account)
        return accounts

    def _present(self, account: Account) -> None:
        if self._as_json:
            say_json(account)
        columns = min(max(self._console.width, LEAST_COLUMNS), MOST_COLUMNS)
        title, *rest = lines(account, columns - FRAME_COLUMNS)
        colour = "red" if account.failures else "green"
        self._console.print(
            Panel("\n".join(map(escape, rest)), title=escape(title), border_style=colour, padding=(1, 2), width=columns)
        )

    def archived(self, info: StackInfo, accounts: list[Account]) -> None:
        """What ClickHouse has of it."""
        for account in accounts:
            found = stored.wait_for_events(info, account.fleet, account.events, ARCHIVE_SECONDS)
            self.say(f"ClickHouse holds {found:,} of the {account.events:,} events of fleet {account.fleet}")
            for row in stored.top_crashes(info, account.fleet):
                self.say("  " + row)

    def point_on(self, info: StackInfo, scenario: str, keep: bool, data_dir: Path | None) -> None:
        """Where to look next."""
        others = [name for name in scenarios.names() if name != scenario]
        words = guide.after_demo(info, guide.keys_of(info), others, keep=keep, kept=data_dir is not None)
        self._console.print(words, markup=False, soft_wrap=True)
        if keep:
            self._console.print("The line stays up. Ctrl-C stops it.", markup=False)
