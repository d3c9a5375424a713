"""What `andon bench queries` loads has rows for every query that it times."""

import pytest

from consumers.clickhouse.ask.named import queries
from pipeline.bench.queries import measure
from pipeline.bench.queries_load import Plan

pytest.importorskip("chdb", reason="needs the ClickHouse engine")


@pytest.mark.service
@pytest.mark.timeout(600)
def test_every_query_of_the_guide_finds_what_is_loaded() -> None:
    """A query that is added to the guide is given something to find, or the bench ends for everybody who runs it."""
    figures = measure(Plan(20_000, 500, 3, 1), {})
    assert figures["queries"].keys() == queries().keys()
    assert all(found["rows"] for found in figures["queries"].values())
