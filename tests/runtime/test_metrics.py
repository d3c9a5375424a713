"""Metrics keep the rules of the house: names of our own in base units, and labels that cannot grow without bound."""

import pytest
from prometheus_client.metrics import MetricWrapperBase

from pipeline.runtime import metrics

DECLARED = {name: found for name, found in vars(metrics).items() if isinstance(found, MetricWrapperBase)}
LABELS = {"stage", "reason", "topic", "partition", "mode", "status", "table"}
OTHER_UNITS = ("_ms", "_minutes", "_hours", "_kb", "_mb", "_mib", "_percent", "_total")  # `_total` comes by itself


@pytest.mark.parametrize("metric", DECLARED.values(), ids=DECLARED)
def test_names_labels_and_units(metric: MetricWrapperBase) -> None:
    """Every metric is Andon's, in base units, documented, and labelled with what is known beforehand."""
    assert metric._name.startswith("andon_")
    assert not metric._name.endswith(OTHER_UNITS)
    assert metric._documentation
    assert set(metric._labelnames) <= LABELS


def test_all_are_declared() -> None:
    """There is something to look at."""
    assert len(DECLARED) >= 15
