"""The dashboards as Grafana provisions them: `make grafana` writes them, a test compares."""

import json
from pathlib import Path

from grafana.dashboards import incident, pipeline, quality, response, watch
from grafana.model.dashboard import Dashboard

PLACE = Path(__file__).with_name("generated")
DASHBOARDS: tuple[Dashboard, ...] = (
    watch.DASHBOARD,
    incident.DASHBOARD,
    pipeline.DASHBOARD,
    quality.DASHBOARD,
    response.DASHBOARD,
)


def files() -> dict[str, str]:
    """What is to stand in each file, by name."""
    return {f"{each.uid}.json": json.dumps(each.json(), indent=2, ensure_ascii=False) + "\n" for each in DASHBOARDS}
