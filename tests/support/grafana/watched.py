"""A played line under the eyes that a SOC has: Prometheus, Alertmanager, `andon notify`; obeyed by a hook, and
commanded by two operators."""

import json
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import clickhouse_connect
from clickhouse_connect.driver.client import Client
from confluent_kafka import Producer

from pipeline.local.machine.ports import free_port
from pipeline.local.machine.process import Process, andon
from pipeline.runtime.clock import wall_clock_ms
from support.alerting.alertmanager import Alertmanager, Webhook
from support.alerting.prometheus import Prometheus
from support.grafana.played import Played
from support.outside import encode
from support.rollout_world import Operator
from support.waiting import DEADLINE_SECONDS, until

FLEET = "acme"
HALTED, LIFTED = ("fabrikam", "net-tap", "8.0.2"), ("google", "chrome", "126.0.6478.183")
_EYES = "clickhouse-grafana-password"


class Watched(NamedTuple):
    """All of it, while it runs."""

    played: Played
    prometheus: Prometheus
    clickhouse: Client  # as Grafana's user
    crashed_host: str
    since_seconds: float  # unix: when Prometheus began

    def over(self, expression: str) -> list[dict[str, Any]]:
        """Series of all that Prometheus has seen, but two minutes at most."""
        now = wall_clock_ms() / 1000
        asked = {"query": expression, "start": self.since_seconds, "end": min(now, self.since_seconds + 120), "step": 5}
        path = f"{self.prometheus.url}/api/v1/query_range?" + urllib.parse.urlencode(asked)
        with urllib.request.urlopen(path, timeout=10) as answer:
            found: list[dict[str, Any]] = json.load(answer)["data"]["result"]
            return found


def _said(played: Played, *words: object) -> str:
    done = subprocess.run(
        andon(*words), env=played.environ, capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _command(played: Played, keys: Path, private: Path) -> None:
    """An innocent update is halted by one operator and lifted by two: what people do."""
    for name in ("ann", "bob"):
        Operator(name, keys).write_private(private / f"{name}.pem")

    def ordered(who: str, *words: str) -> str:
        where = ("--fleet", FLEET, "--trusted-keys-dir", keys, "--key", private / f"{who}.pem")
        return _said(played, "halts", *words, *where)

    ordered("ann", "force", "/".join(LIFTED), "--reason", "looks wrong", "--json")
    proposed = ordered("ann", "resume", "/".join(LIFTED), "--reason", "was <b>not</b> it", "--for", "4h", "--json")
    ordered("bob", "approve", json.loads(json.loads(proposed)["command"])["id"], "--yes")


def _send(played: Played) -> None:
    """Events through the gateway, and two that are none: one there, one on the topic."""
    info, now = played.info, wall_clock_ms()
    place = {"ring": "broad", "os": "o", "model": "m", "updates": []}
    lines = [
        encode({"v": 1, "id": f"w-{n}-{now}", "kind": "heartbeat", "fleet": FLEET, "host": f"w-{n}", "ts": now} | place)
        for n in range(5)
    ]
    token = Path(info["gateway_token_file"]).read_text().strip()
    request = urllib.request.Request(
        info["gateway_url"] + "/v1/events",
        b"\n".join([*lines, b"{"]),
        {"Authorization": f"Bearer {token}", "Content-Type": "application/x-ndjson"},
    )
    with suppress(urllib.error.HTTPError), urllib.request.urlopen(request, timeout=10):
        pass
    producer = Producer({"bootstrap.servers": info["bootstrap_servers"]})
    producer.produce("fleet.events", b"{")
    assert producer.flush(DEADLINE_SECONDS) == 0


def grafana_client(played: Played) -> Client:
    """Whom dashboards come in as."""
    host, _, port = played.info["clickhouse_url"].removeprefix("http://").partition(":")
    password = (played.data_dir / "secrets" / _EYES).read_text().strip()
    return clickhouse_connect.get_client(
        host=host, port=int(port), username="andon_grafana", password=password, database="andon"
    )


def _works(prometheus: Prometheus) -> bool:
    """Whether every stage has been seen to take something in, and whoever tells of halts and obeys them has been asked
    twice."""
    stages = prometheus.asked("count(sum by (stage) (rate(andon_events_total[20s])) > 0)")
    passes = prometheus.asked(
        "sum(rate(andon_http_requests_total[20s])) > 0 and sum(rate(andon_hook_runs_total[30s])) >= 0"
    )
    return bool(stages) and stages[0]["value"][1] == "4" and bool(passes)


@contextmanager
def watching(played: Played, place: Path) -> Iterator[Watched]:
    """Until the block ends. What happens meanwhile: a command of operators and its undoing, a hook that obeys, events
    and refusals."""
    keys = played.data_dir / "correlate" / "keys"
    _said(played, "keys", "new", "subscriber", "sccm", "--dir", keys)
    (own,) = keys.glob("subscriber.sccm.*.key.pem")
    since, notify, hook = wall_clock_ms() / 1000, free_port(), free_port()
    written = json.loads((played.data_dir / "prometheus" / "targets" / "andon.json").read_text())
    targets = {"notify of ours": f"127.0.0.1:{notify}", "hook": f"127.0.0.1:{hook}"}
    targets |= {each["labels"]["stage"]: each["targets"][0] for each in written}
    as_hook = ("--name", "sccm", "--key-file", own, "--fleets", FLEET, "--metrics-port", hook)
    with Webhook() as webhook, Alertmanager(place, webhook) as alertmanager:
        alertmanager.start()
        tells = played.environ | {"ANDON_NOTIFY_ALERTMANAGER_URLS": alertmanager.url}
        with (
            Prometheus(place, targets, alertmanager.address) as prometheus,
            Process(andon("notify", "--metrics-port", notify), place / "notify.log", tells) as telling,
            Process(andon("hook", "exec", *as_hook, "--", "true"), place / "hook.log", played.environ) as hooked,
        ):
            telling.start()
            hooked.start()
            _command(played, keys, place)
            client = grafana_client(played)
            sql = "SELECT host FROM crashes WHERE fleet = {f:String} AND has(updates.version, {v:String}) LIMIT 1"
            host = client.query(sql, parameters={"f": FLEET, "v": HALTED[2]}).result_rows[0][0]
            found = Watched(played, prometheus, client, host, since)
            until("every stage is seen at work", lambda: _send(played) or _works(prometheus))
            resumed = "SELECT count() FROM halts_now WHERE action = 'resume'"
            until("the archive has the resume", lambda: client.command(resumed))
            yield found
