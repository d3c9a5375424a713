"""`andon backtest`: what would have been halted, when, and on what evidence."""

import gc
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from pipeline.backtest import lines
from pipeline.backtest.report import halt_json, show_halt, show_summary, summary_json, summary_of
from pipeline.backtest.run import Backtest
from pipeline.decide.orders import HaltOrder
from pipeline.decide.policy import PolicyError, PolicySet, load_policies
from pipeline.runtime.errors import ConfigError

Advance = Callable[[int], None]
_COLLECT_EVERY = 100_000  # events are not tracked by the collector, and hardly anything else is made


@click.command("backtest")
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@click.option("--policy", type=click.Path(path_type=Path), help="Policy TOML; without it the built-in policy.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a decision, and last the summary.")
def command(files: tuple[str, ...], policy: Path | None, as_json: bool) -> None:
    """What would have been halted? Read NDJSON events (plain, gzip or zstd; "-" is standard input) and decide.

    Several files are read one after the other, as one stream: name them in the order of their time.
    """
    policies = read_policies(policy)
    sizes = [lines.check(name) for name in files]
    backtest = Backtest(policies)
    gc.freeze()
    gc.set_threshold(_COLLECT_EVERY)
    out = Console(highlight=False)
    started = time.perf_counter()
    with _progress(backtest, sum(sizes) if all(sizes) else None) as advance:
        for halt in _halts(backtest, files, advance):
            if as_json:
                click.echo(halt_json(halt))
            else:
                show_halt(out, halt)
    summary = summary_of(backtest, time.perf_counter() - started)
    if as_json:
        click.echo(summary_json(summary))
    else:
        show_summary(out, backtest, summary)


def read_policies(path: Path | None) -> PolicySet:
    """Raises ConfigError when the file cannot be read or says what no policy may."""
    if path is None:
        return PolicySet()
    try:
        return load_policies(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"--policy {path}: cannot be read: {error.strerror or error}") from None
    except (UnicodeDecodeError, PolicyError) as error:
        raise ConfigError(f"--policy {path}: {error}") from None


def _halts(backtest: Backtest, files: Iterable[str], advance: Advance) -> Iterator[HaltOrder]:
    for name in files:
        for batch in lines.batches(name, advance):
            yield from backtest.take(batch)
    yield from backtest.finish()


@contextmanager
def _progress(backtest: Backtest, total_bytes: int | None) -> Iterator[Advance]:
    """A bar on standard error when that is a terminal; `total_bytes` None: nobody knows how much there is."""
    columns = (TextColumn("backtest"), BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[events]} events"))
    console = Console(stderr=True)
    with Progress(*columns, TimeRemainingColumn(), console=console, disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task("", total=total_bytes, events="0")
        yield lambda size: progress.update(task, advance=size, events=f"{backtest.events:,}")
