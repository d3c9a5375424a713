"""`make grafana-preview`: the demo's night on a whole line, watched by Prometheus; what the dashboards ask of it, kept
and drawn, with pictures where there is a Chromium. Takes some minutes."""

import shutil
import sys
import tempfile
import time
from pathlib import Path

from grafana.preview.__main__ import ask, draw
from support.grafana.played import demo_in
from support.grafana.watched import FLEET, HALTED, watching

SEEN_SECONDS = 60  # of scrapes, so that there are lines to be seen


def main(to: Path) -> None:
    """Answers, pages and pictures in this folder."""
    with (
        tempfile.TemporaryDirectory() as line,
        tempfile.TemporaryDirectory() as eyes,
        demo_in(Path(line)) as played,
        watching(played, Path(eyes)) as seen,
    ):
        time.sleep(SEEN_SECONDS)
        choices = dict(zip(("vendor", "product", "version"), HALTED, strict=True))
        choices |= {"fleet": FLEET, "host": seen.crashed_host}
        ask(seen.prometheus.url, seen.clickhouse, choices, to)
    draw(to, shutil.which("chromium") or "")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
