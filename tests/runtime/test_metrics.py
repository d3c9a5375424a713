"""Metrics keep the rules of the house: names of our own in base units, and labels that cannot grow without bound."""

import pytest
from prometheus_client import REGISTRY
from prometheus_client.metrics import MetricWrapperBase

from pipeline.runtime import metrics
from pipeline.runtime.lag import Lags

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


def test_the_lag_of_what_left_is_not_shown() -> None:
    """A partition that another reads now keeps no series here."""
    lags = Lags("test", "x.")
    lags.show({("x.t", 0): 5, ("x.t", 1): -1})
    assert REGISTRY.get_sample_value("andon_lag_messages", labels("0")) == 5
    assert REGISTRY.get_sample_value("andon_lag_messages", labels("1")) == 0
    lags.show({("x.t", 1): 7})
    assert REGISTRY.get_sample_value("andon_lag_messages", labels("0")) is None
    assert REGISTRY.get_sample_value("andon_lag_messages", labels("1")) == 7
    lags.show({})


def labels(partition: str) -> dict[str, str]:
    """Of the series of a partition."""
    return {"stage": "test", "topic": "t", "partition": partition}
