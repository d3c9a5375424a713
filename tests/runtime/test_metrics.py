"""Metrics keep the rules of the house: names of our own in base units, and labels that cannot grow without bound."""

import json
import socket
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY, generate_latest
from prometheus_client.metrics import MetricWrapperBase
from support.peers import HALF_A_HEAD, connect, held, is_closed
from support.waiting import until

from pipeline.runtime import metrics
from pipeline.runtime.errors import ConfigError
from pipeline.runtime.lag import Lags
from pipeline.runtime.metrics import Family
from pipeline.runtime.web import serving
from pipeline.runtime.web.serving import Health, MetricsConfig

FAMILIES = {name: found for name, found in vars(metrics).items() if isinstance(found, Family)}
DECLARED = {name: found for name, found in vars(metrics).items() if isinstance(found, MetricWrapperBase)}
BOUNDED_LABELS = {"fleet", "vendor", "product", "version", "subscriber", "state", "arm", "ring", "kind"}
LABELS = {
    "version",
    "form",
    "stage",
    "reason",
    "topic",
    "partition",
    "mode",
    "status",
    "table",
    "what",
    "directory",
    "process",
    "python",
}
OTHER_UNITS = ("_ms", "_minutes", "_hours", "_kb", "_mb", "_mib", "_percent", "_total")  # `_total` comes by itself


@pytest.mark.parametrize("metric", DECLARED.values(), ids=DECLARED)
def test_names_labels_and_units(metric: MetricWrapperBase) -> None:
    """Every metric is Andon's, in base units, documented, and labelled with what is known beforehand."""
    assert metric._name.startswith("andon_")
    assert not metric._name.endswith(OTHER_UNITS)
    assert metric._documentation
    assert set(metric._labelnames) <= LABELS


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_families_keep_the_same_rules(family: Family) -> None:
    """And may name fleets, updates and subscribers besides: their series are bounded."""
    assert family.name.startswith("andon_")
    assert not family.name.endswith(OTHER_UNITS)
    assert family.help
    assert set(family.labels) <= LABELS | BOUNDED_LABELS


def test_a_family_is_replaced_as_a_whole_and_bounded() -> None:
    """What is not there any more has no series, and what is too much is left out."""
    family = Family("andon_test_family", "of this test", ("fleet",))
    metrics.put(family, [((str(number),), number) for number in range(metrics.MAX_SERIES + 5)])
    assert REGISTRY.get_sample_value("andon_test_family", {"fleet": "999"}) == 999
    assert REGISTRY.get_sample_value("andon_test_family", {"fleet": "1000"}) is None
    metrics.put(family, [(('a\n"b',), 1)])
    assert REGISTRY.get_sample_value("andon_test_family", {"fleet": "999"}) is None
    assert 'andon_test_family{fleet="a\\n\\"b"} 1.0' in generate_latest().decode()


def test_silent_peers_hold_the_metrics_up_for_moments_only(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Half a request, and one that trickles: a scrape is served beside many more than there are places, and each is
    closed in time, without a traceback."""
    port = free_port()
    serving.serve(MetricsConfig(metrics_port=port), Health(list))
    with held(port, 5 * serving.PLACES):
        assert "andon_halts" in until("it is scraped", lambda: scraped(port), serving.SCRAPE_SECONDS / 2)
    monkeypatch.setattr(serving, "SCRAPE_SECONDS", 1.0)
    with connect(port, HALF_A_HEAD) as peer:
        until("it is closed", lambda: trickled(peer))
    assert "Traceback" not in capfd.readouterr().err
    with pytest.raises(ConfigError, match=r"metrics.metrics_port: cannot listen"):
        serving.serve(MetricsConfig(metrics_port=port), Health(list))


def test_every_process_answers_in_one_form() -> None:
    """Ready or why not, alive or not, its metrics; what there is else; and nothing to a name that is not its own."""
    trouble, port = ["no broker answers"], free_port()
    serving.serve(
        MetricsConfig(metrics_port=port, metrics_names="andon-1"), Health(trouble.copy, more=lambda: {"fleets": 3})
    )
    for path in ("/readyz", "/health"):
        status, said = asked(port, path)
        assert (status, said["ready"], said["why_not"], said["fleets"]) == (503, False, trouble, 3)
    assert "andon_ready 0.0" in scraped(port)
    trouble.clear()
    assert asked(port, "/readyz")[0] == 200
    assert "andon_ready 1.0" in scraped(port)
    assert "andon_build_info{python=" in scraped(port)
    assert asked(port, "/healthz")[1]["alive"] is True
    status, said = asked(port, "/state")
    assert (status, said["detail"]) == (404, "this process has these paths: /metrics, /readyz, /health, /healthz")
    assert asked(port, "/metrics", "evil.example:80")[0] == 421
    assert asked(port, "/readyz", "andon-1:9101")[0] == 200


def test_who_cannot_say_that_he_is_ready_is_not() -> None:
    """And one whose loop stands still is not alive."""

    def why_not() -> list[str]:
        raise KeyError("x")

    health = Health(why_not, lambda: serving.ALIVE_SECONDS)
    assert health.ready() == (False, health.ready()[1])
    assert health.ready()[1]["why_not"] == ["unknown: KeyError: 'x'"]
    assert health.alive()[0] is False


def test_the_disk_of_a_directory_is_shown_as_long_as_it_is_there(tmp_path: Path) -> None:
    """One that is gone gives no number, and a scrape all the same."""
    place = tmp_path / "data"
    place.mkdir()
    serving.show_disk("test", place)
    free, size = (
        REGISTRY.get_sample_value(f"andon_disk_{what}_bytes", {"directory": "test"}) for what in ("free", "size")
    )
    assert 0 < (free or 0) <= (size or 0)
    place.rmdir()
    assert str(REGISTRY.get_sample_value("andon_disk_free_bytes", {"directory": "test"})) == "nan"


def asked(port: int, path: str, host: str = "localhost") -> tuple[int, dict[str, Any]]:
    """Status and JSON of a page."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers={"Host": host})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def trickled(peer: socket.socket) -> bool:
    """Whether it was closed, though it goes on to send."""
    with suppress(BlockingIOError):
        try:
            peer.sendall(b"a")
        except ConnectionError:
            return True
    return is_closed(peer)


def free_port() -> int:
    """One that nobody has just now."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
    return port


def scraped(port: int) -> str:
    """What it answers; "" when it closes the connection."""
    with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as answer:
        return str(answer.read().decode())
    return ""


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
