"""`andon status`: rates, lag, verdicts and halts, live; of the local line, or of any cluster."""

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import click
import msgspec
from click.core import ParameterSource

from pipeline.halt.trust import TrustConfig
from pipeline.local import datadir, stack
from pipeline.runtime.config import configured
from pipeline.runtime.console import console
from pipeline.runtime.kafka import KafkaConfig
from pipeline.runtime.say import say_json

if TYPE_CHECKING:
    from pipeline.status.watcher import Watcher

Doc = msgspec.Meta
WIDE_COLUMNS = 200  # of a table that goes into a file


class StatusConfig(msgspec.Struct, frozen=True):
    """Section `status`."""

    interval_seconds: Annotated[float, Doc(ge=0.1, le=60, description="time between refreshes")] = 1.0
    top: Annotated[int, Doc(ge=1, le=1000, description="of how many updates to show the verdicts")] = 15


@click.command("status")
@click.option("--once", is_flag=True, help="Print one table and exit.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a refresh instead of the screen.")
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    default=datadir.DEFAULT,
    envvar="ANDON_DATA_DIR",
    show_default=True,
    help="Of the local line; not needed with --bootstrap-servers.",
)
@configured(("status", StatusConfig), ("kafka", KafkaConfig), ("trust", TrustConfig))
def command(
    once: bool, as_json: bool, data_dir: Path, status: StatusConfig, kafka: KafkaConfig, trust: TrustConfig
) -> None:
    """Show rates, lag, verdicts and halts, live. Exit code 1 when nothing runs."""
    # Here, not above: whoever asks for help does not wait for what the command needs.
    from pipeline.status.view import Screen
    from pipeline.status.watcher import Watcher

    source = click.get_current_context().get_parameter_source("bootstrap_servers")
    local = stack.meant(data_dir.absolute(), kafka, source is ParameterSource.COMMANDLINE)
    watcher = Watcher(kafka, data_dir.absolute() if local else None, status.top, trust)
    try:
        watcher.look()
        time.sleep(status.interval_seconds)  # rates are differences
        if as_json:
            _print_json(watcher, once, status.interval_seconds)
        elif once or not sys.stdout.isatty():
            is_terminal = sys.stdout.isatty()
            out = console(width=None if is_terminal else WIDE_COLUMNS, highlight=True)
            out.print(Screen(watcher.look(), 1 if is_terminal else None))
        else:
            _show(watcher, status.interval_seconds)
    except KeyboardInterrupt:
        pass
    finally:
        watcher.close()


def _print_json(watcher: "Watcher", once: bool, interval_seconds: float) -> None:
    while True:
        say_json(watcher.look())
        if once:
            return
        time.sleep(interval_seconds)


def _show(watcher: "Watcher", interval_seconds: float) -> None:
    from rich.live import Live

    from pipeline.status.view import Screen

    with Live(Screen(watcher.look(), 0), console=console(), screen=True, auto_refresh=False) as live:
        while True:
            time.sleep(interval_seconds)
            live.update(Screen(watcher.look(), 0), refresh=True)
