"""docs/metrics.md shows what is declared."""

from support.alerting import metrics_table


def test_the_page_shows_every_metric() -> None:
    """Each with its type, labels and help: written from the declarations."""
    assert metrics_table.shown() == metrics_table.markdown()
