"""`andon …`: a table of commands, each imported when it is called, so that a stage loads only what it runs."""

import faulthandler
import importlib
import os
import signal
import sys

import click

from pipeline import __version__
from pipeline.answers import answered
from pipeline.extras import lacking, require
from pipeline.runtime.errors import AndonError, OutputError
from pipeline.runtime.lifecycle import leave
from pipeline.runtime.say import say, say_traceback
from pipeline.runtime.wrong import did_you_mean
from pipeline.streams import STANDARD_ERROR, finish, guard

# Before numpy is loaded: its matrix products are small, and threads that wait for one another on a busy machine made
# single steps of the detector ten times as long.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

UNEXPECTED = 1  # exit code, as Python has it

COMMANDS = {
    "up": ("pipeline.local.up:command", "Run the whole line on this machine."),
    "status": ("pipeline.status.main:command", "Show rates, lag, verdicts and halts, live."),
    "demo": ("pipeline.demo.main:command", "Start the line, replay 19 July 2024, give the account."),
    "doctor": ("pipeline.doctor.main:command", "Check every server that Andon is configured for."),
    "size": ("pipeline.size.main:command", "How much so many endpoints need."),
    "plan": ("pipeline.canary.main:command", "How large a canary, for how long, for which fault."),
    "topics": ("pipeline.access.main:command", "Create or verify the topics of a cluster."),
    "collect": ("pipeline.collect.main:command", "Stage: the HTTP gateway."),
    "token": ("pipeline.collect.tokens:command", "Make a gateway token for a fleet."),
    "keys": ("pipeline.halt.keys:command", "Make, list, rotate and revoke signing keys."),
    "combine": ("pipeline.combine.main:command", "Stage: fold events into partials."),
    "correlate": ("pipeline.correlate.main:command", "Stage: decide, and halt."),
    "archive": ("consumers.clickhouse.archive.main:command", "Stage: Kafka to ClickHouse."),
    "clickhouse": ("pipeline.local.clickhouse.main:command", "The local ClickHouse engine behind HTTP."),
    "migrate": ("consumers.clickhouse.schema.migrate:command", "Create or upgrade the ClickHouse schema."),
    "query": ("consumers.clickhouse.ask.query:command", "Ask ClickHouse, by a query's name or in SQL."),
    "backfill": ("consumers.clickhouse.upkeep.backfill:command", "Make a ClickHouse table anew from the raw events."),
    "forget": ("consumers.clickhouse.upkeep.forget:command", "Drop a fleet's or a host's data from ClickHouse."),
    "backup": ("pipeline.backup.main:command", "Back up, verify, restore: sealed, incremental, signed."),
    "halts": ("pipeline.halts.main:command", "What stands halted, why, and who obeys."),
    "hosts-to-restore": ("pipeline.halts.to_restore:command", "Who is down after an update, where, and who is back."),
    "audit": ("pipeline.audit.main:command", "Audit: prove that commands, answers and halts are all there."),
    "gate": ("consumers.rollout.main:command", "May this update go on in this ring? The exit code says so."),
    "hook": ("consumers.rollout.hook:command", "A command for every halt and resume; it acknowledges."),
    "notify": ("consumers.notify.main:command", "Tell Alertmanager of halts and resumes."),
    "deadletter": ("consumers.deadletter.main:command", "Refused messages: list, show, retry."),
    "replay": ("pipeline.simulate.replay:command", "Produce a scenario's events to a cluster or a file."),
    "backtest": ("pipeline.backtest.main:command", "What would have been halted? From files, without Kafka."),
    "bakeoff": ("pipeline.bakeoff.contest.main:command", "Andon beside the rules that ship, where the truth is known."),
    "bench": ("pipeline.cli:bench", "Measure, and print JSON."),
}

ANSWERING = {"gate"}  # whose exit code is an answer, so that failures have others
READING_AGAIN = {"collect"}  # whom SIGHUP asks to read a file again: it ends them at no moment

BENCHES = {
    "combine": ("pipeline.bench.combine:command", "Events per CPU-second of the combiner."),
    "collect": ("pipeline.bench.collect:command", "Events per second through the HTTP gateway."),
    "decide": ("pipeline.bench.decide:command", "Crashed hosts to a halt, beside MaxSPRT; time of a step."),
    "calibrate": ("pipeline.bench.calibrate:command", "False-halt rate over simulated null rollouts."),
    "archive": ("pipeline.bench.archive:command", "Kafka to ClickHouse: events per second, bytes per event."),
    "queries": ("pipeline.bench.queries:command", "Seconds of the analysts' queries over many stored events."),
    "latency": ("pipeline.bench.latency:command", "From the deciding crash to the readable halt."),
    "rollout": ("pipeline.bench.rollout:command", "From a halt on its topic to a subscriber; the gate's time."),
    "faults": ("pipeline.bench.faults.main:command", "Kills, cuts, restarts: is every event there, once?"),
    "backtest": ("pipeline.bench.backtest:command", "Events per second through `andon backtest`."),
    "scale": ("pipeline.bench.scale.main:command", "What of a fleet of any size reaches the correlator."),
    "backup": ("pipeline.bench.backup:command", "Seconds to back up and restore, a gigabyte and in all."),
    "soak": ("pipeline.bench.soak.main:command", "A constant load on the whole line: does anything grow?"),
}


class LazyGroup(click.Group):
    """A group whose commands are imported on use: name → ("module:attribute", one line of help)."""

    def __init__(self, table: dict[str, tuple[str, str]], name: str, help: str) -> None:
        super().__init__(name=name, help=help, context_settings={"help_option_names": ["-h", "--help"]})
        self.table = table

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.table:
            return None
        if self.table is COMMANDS:
            require(cmd_name)
        module, attribute = self.table[cmd_name][0].split(":")
        loaded: click.Command = getattr(importlib.import_module(module), attribute)
        return loaded

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """With the nearest names behind "No such command"."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            error.message = error.message.rstrip(".") + (did_you_mean(args[0], self.table) or ".")
            raise

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(
                [
                    (name, text + (_lacks(name) if self.table is COMMANDS else ""))
                    for name, (_, text) in self.table.items()
                ]
            )


def _lacks(command: str) -> str:
    extra, absent = lacking(command)
    return f" [not installed: andon[{extra}]]" if absent else ""


def _version(ctx: click.Context, _: click.Parameter, asked: bool) -> None:
    if asked and not ctx.resilient_parsing:
        say(f"andon {__version__}")
        ctx.exit()


bench = LazyGroup(BENCHES, "bench", "Benchmarks: each starts what it needs, prints one JSON object, leaves nothing.")
andon = LazyGroup(COMMANDS, "andon", "Andon: the cord that stops a fleet rollout.")
andon.params.append(
    click.Option(
        ["--version"],
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=_version,
        help="Show the version and exit.",
    )
)


def main() -> None:
    """Entry point: an AndonError becomes one line on standard error and its exit code; of what nobody expected there is
    a traceback, and the code is 1. After neither is anything waited for. Of output that nobody reads any more there is
    only the code."""
    guard()
    sys.excepthook = say_traceback
    faulthandler.enable(STANDARD_ERROR)  # when a library in C crashes, its last words are where it was called
    if READING_AGAIN.intersection(sys.argv[1:2]):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until it takes it: what it would read, it has not read yet
    for name in ANSWERING.intersection(sys.argv[1:2]):
        leave(answered(lambda: andon.main(prog_name="andon", standalone_mode=False), name))
    try:
        _run()
    except AndonError as error:
        if not (isinstance(error, OutputError) and error.is_unread):
            say(f"andon: {error}", err=True)
        leave(error.exit_code)
    except Exception as error:
        say_traceback(type(error), error, error.__traceback__)
        leave(UNEXPECTED)


def _run() -> None:
    try:
        andon(prog_name="andon")
    except SystemExit:  # as click ends a command that has come to its end
        finish()
        raise
