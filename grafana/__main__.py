"""`make grafana`: write the dashboards to grafana/generated."""

import json
from pathlib import Path

from grafana.dashboards import pipeline
from grafana.model import Dashboard

PLACE = Path(__file__).with_name("generated")
DASHBOARDS: tuple[Dashboard, ...] = (pipeline.DASHBOARD,)


def files() -> dict[str, str]:
    """What is to stand in each, by name."""
    return {f"{each.uid}.json": json.dumps(each.json(), indent=2) + "\n" for each in DASHBOARDS}


if __name__ == "__main__":
    for name, text in files().items():
        (PLACE / name).write_text(text)
