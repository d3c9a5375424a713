"""What `andon doctor` makes of what stages say of themselves."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from consumers.clickhouse.connect import ClickHouseConfig
from pipeline.doctor.examine import stage
from pipeline.doctor.http import check_correlator, check_stage
from pipeline.doctor.targets import DoctorConfig, targets
from pipeline.local.stack import StackInfo, StageInfo
from pipeline.runtime.kafka import KafkaConfig

HEALTHY = {
    "ready": True,
    "fleets": 2,
    "at": 0,
    "stream_time_ahead": [],
    "clocks_ahead": {},
    "partials_sealed": True,
    "partials_unsealed": 0,
}


@contextmanager
def saying(health: dict[str, Any]) -> Iterator[str]:
    """The URL of a correlator that says so of its health."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(health).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_all_well() -> None:
    """One finding."""
    with saying(HEALTHY) as url:
        assert [finding.level for finding in check_correlator(url)] == ["ok"]


def test_a_stream_time_ahead_of_the_clock_is_a_problem() -> None:
    """A correlator that lives and hardly hears a fleet is not well; the fleet is named."""
    with saying(HEALTHY | {"stream_time_ahead": ["acme"]}) as url:
        (found,) = [finding for finding in check_correlator(url) if finding.level != "ok"]
    assert (found.level, found.check) == ("problem", "correlator time")
    assert "acme" in found.words


def test_clocks_ahead_are_a_warning() -> None:
    """A fleet that looks well because its hosts' clocks keep them out of the evidence."""
    with saying(HEALTHY | {"clocks_ahead": {"acme": 574}}) as url:
        (found,) = [finding for finding in check_correlator(url) if finding.level != "ok"]
    assert (found.level, found.check) == ("warning", "correlator clocks")
    assert "acme (574 hosts)" in found.words


def test_partials_that_anybody_can_write_are_a_warning_and_those_that_somebody_wrote_a_problem() -> None:
    """Without a seal it is said what can be done to the line; with one, that somebody tried."""
    with saying(HEALTHY | {"partials_sealed": False}) as url:
        assert [(found.check, found.level) for found in check_correlator(url)][1:] == [("partials", "warning")]
    with saying(HEALTHY | {"partials_unsealed": 2}) as url:
        (found,) = check_correlator(url)[1:]
    assert (found.check, found.level) == ("partials", "problem")
    assert found.words.startswith("2 ")


def test_a_stage_that_does_not_get_on_is_a_problem_with_its_own_words() -> None:
    """And so is one that nobody finds; one that says that all is well is fine."""
    with saying({"ready": True, "why_not": []}) as url:
        assert [(found.check, found.level) for found in check_stage("archive", "archive", url)] == [("archive", "ok")]
    with saying({"ready": False, "why_not": ["inserts fail"]}) as url:
        (found,) = check_stage("archive", "archive", url)
        assert (found.level, found.words) == ("problem", f"{url} answers, but is not ready: inserts fail")
    (found,) = check_stage("combiner", "combine", url)
    assert (found.level, found.advice) == ("problem", "start `andon combine`, or correct doctor.combine_url")


def test_notify_is_looked_at() -> None:
    """That of the local line, unless another is named; one that reaches no Alertmanager is a problem, in its words."""
    info = StackInfo(
        supervisor_pid=1, started_at=0, data_dir="", fleet="acme", bootstrap_servers="h:1",
        stages={"notify": StageInfo(metrics_port=9109)},
    )  # fmt: skip
    assert targets(DoctorConfig(), KafkaConfig(), ClickHouseConfig(), info).doctor.notify_url == "http://127.0.0.1:9109"
    with saying({"ready": False, "why_not": ["http://am:9093 does not answer"]}) as url:
        named = targets(DoctorConfig(notify_url=url), KafkaConfig(), ClickHouseConfig(), info)
        (found,) = stage("notify", "notify", named.doctor.notify_url)
    assert (found.check, found.level) == ("notify", "problem")
    assert "http://am:9093 does not answer" in found.words
