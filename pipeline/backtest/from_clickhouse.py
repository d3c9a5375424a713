"""A backtest of what ClickHouse has stored, compared with the halts that went out."""

import sys

from clickhouse_connect.driver.exceptions import Error

from consumers.clickhouse.ask.answer import CutOff
from consumers.clickhouse.connect import ClickHouseConfig, connect
from pipeline.backtest.follow import follow
from pipeline.backtest.report import show_differences
from pipeline.backtest.run import Backtest
from pipeline.backtest.stored import DAY_SECONDS, Span, batches, differences, halts_then
from pipeline.decide.policy import PolicySet
from pipeline.runtime.errors import AndonError
from pipeline.runtime.logging import printable


def judge(policies: PolicySet, clickhouse: ClickHouseConfig, span: Span, as_json: bool) -> None:
    """The events of the span.

    Raises:
        AndonError: when ClickHouse cannot be asked, or its answer broke off.
    """
    try:
        client = connect(clickhouse, database=clickhouse.database, timeout_seconds=DAY_SECONDS)
        then = halts_then(client, span)
        orders = follow(Backtest(policies), lambda advance: batches(client, span, advance), None, as_json)
    except CutOff as error:
        sys.stdout.flush()
        raise AndonError(f"ClickHouse at {clickhouse.url}: {error}; so are the halts printed") from None
    except Error as error:
        raise AndonError(f"ClickHouse at {clickhouse.url}: {printable(str(error))}") from None
    show_differences(differences(then, orders, span.since_ms), as_json)
