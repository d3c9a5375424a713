"""A backtest, asked for: of files, or of what ClickHouse has stored."""

import sys
from collections.abc import Iterable
from pathlib import Path

from clickhouse_connect.driver.exceptions import Error

from consumers.clickhouse.ask.answer import CutOff
from consumers.clickhouse.connect import ClickHouseConfig, connect
from pipeline.backtest import lines
from pipeline.backtest.follow import ReadLines, follow
from pipeline.backtest.forms import Said
from pipeline.backtest.noted import InputNotes
from pipeline.backtest.policies import read_policies
from pipeline.backtest.report import show_differences
from pipeline.backtest.run import Backtest, HostNames
from pipeline.backtest.stored import DAY_SECONDS, Span, differences, halts_then
from pipeline.backtest.stored import batches as stored_batches
from pipeline.runtime.errors import AndonError
from pipeline.runtime.logging import printable


def of_files(policy: Path | None, hosts: HostNames, files: Iterable[str], as_json: bool) -> None:
    """Raises ConfigError when a file or the policy cannot be read, AndonError when that is no pass."""
    policies = read_policies(policy)
    names = list(files)
    sizes = [lines.check(name) for name in names]
    notes = InputNotes()
    read = files_read(names, lambda form: notes.forms.update([form]))
    follow(Backtest(policies, notes, hosts), read, sum(sizes) if all(sizes) else None, as_json)


def of_stored(policy: Path | None, clickhouse: ClickHouseConfig, hosts: HostNames, span: Span, as_json: bool) -> None:
    """Raises ConfigError when the policy cannot be read, AndonError when ClickHouse does not answer to the end."""
    policies = read_policies(policy)
    try:
        client = connect(clickhouse, database=clickhouse.database, timeout_seconds=DAY_SECONDS)
        then = halts_then(client, span)
        run = Backtest(policies, hosts=hosts)
        orders = follow(run, lambda advance: stored_batches(client, span, advance), None, as_json)
    except CutOff as error:
        sys.stdout.flush()
        raise AndonError(f"ClickHouse at {clickhouse.url}: {error}; so are the halts printed") from None
    except Error as error:
        raise AndonError(f"ClickHouse at {clickhouse.url}: {printable(str(error))}") from None
    show_differences(differences(then, orders, span.since_ms), as_json)


def files_read(files: Iterable[str], said: Said = lambda _: None) -> ReadLines:
    """Files one after the other, as one stream; `said` gets the forms of them that had to be understood."""
    return lambda advance: (batch for name in files for batch in lines.batches(name, advance, said))
