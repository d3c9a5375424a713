"""Pictures of the dashboards, for review: `ask` a running Prometheus and ClickHouse what their panels ask, and `draw`
the answers. They are drawn from the dashboards' JSON, by this repository: they are not Grafana.

    python -m grafana.preview ask --prometheus URL --clickhouse URL --password-file F --to DIR --choose fleet=acme
    python -m grafana.preview draw DIR [--browser chromium]
"""

import argparse
import json
import subprocess
import time
from pathlib import Path

import clickhouse_connect

from grafana.preview.asking import SPANS_MS, Asked, answers
from grafana.preview.frames import Json
from grafana.preview.page import height_of, page

GENERATED = Path(__file__).parents[1] / "generated"
STYLE = Path(__file__).with_name("page.css")
SCREENS = ((1920, 1080), (1280, 800))
BROWSER_SECONDS = 60
# A replayed night is minutes on the wall's clock: what only Prometheus knows is looked at as closely as that.
CLOSER = {"andon-pipeline": "now-5m"}


def boards() -> dict[str, Json]:
    """By uid, as they stand in grafana/generated."""
    return {path.stem: json.loads(path.read_text("utf-8")) for path in sorted(GENERATED.glob("*.json"))}


def ask(prometheus: str, client: clickhouse_connect.driver.Client, choices: dict[str, str], to: Path) -> None:
    """Writes a file for each dashboard."""
    to.mkdir(parents=True, exist_ok=True)
    for uid, board in boards().items():
        span_ms = SPANS_MS[CLOSER.get(uid, board["time"]["from"])]
        asked = Asked(prometheus, client, int(time.time() * 1000), span_ms, choices)
        (to / f"{uid}.answers.json").write_text(json.dumps(answers(board, asked)), "utf-8")


def draw(place: Path, browser: str) -> None:
    """A page for each dashboard and screen, and with a browser a picture of its first screen and one of all of it."""
    style = STYLE.read_text("utf-8")
    for uid, board in boards().items():
        answer = json.loads((place / f"{uid}.answers.json").read_text("utf-8"))
        for width, height in SCREENS:
            html = place / f"{uid}.{width}.html"
            html.write_text(page(board, answer, width, style), "utf-8")
            if browser:
                _shoot(browser, html, place / f"{uid}.{width}x{height}.png", width, height)
                _shoot(browser, html, place / f"{uid}.{width}.whole.png", width, height_of(board))


def _shoot(browser: str, html: Path, picture: Path, width: int, height: int) -> None:
    argv = [
        browser, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
        "--disable-sync", "--hide-scrollbars", "--virtual-time-budget=3000", f"--window-size={width},{height}",
        f"--screenshot={picture}", html.resolve().as_uri(),
    ]  # fmt: skip
    subprocess.run(argv, check=True, capture_output=True, timeout=BROWSER_SECONDS)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m grafana.preview", description="Pictures of the dashboards.")
    commands = parser.add_subparsers(dest="command", required=True)
    asking = commands.add_parser("ask")
    asking.add_argument("--prometheus", required=True, help="its address: http://HOST:PORT")
    asking.add_argument("--clickhouse", required=True, help="the same")
    asking.add_argument("--user", default="andon_grafana")
    asking.add_argument("--password-file", type=Path, required=True)
    asking.add_argument("--choose", action="append", default=[], help="NAME=VALUE of a variable without an All")
    asking.add_argument("--to", type=Path, required=True, help="a folder for the answers")
    drawing = commands.add_parser("draw")
    drawing.add_argument("place", type=Path, help="the folder of the answers")
    drawing.add_argument("--browser", default="", help="takes pictures: chromium, for instance")
    given = parser.parse_args()
    if given.command == "draw":
        draw(given.place, given.browser)
        return
    password = given.password_file.read_text().strip()
    client = clickhouse_connect.get_client(
        dsn=given.clickhouse, username=given.user, password=password, database="andon"
    )
    choices = dict(each.split("=", 1) for each in given.choose)
    ask(given.prometheus, client, choices, given.to)


if __name__ == "__main__":
    main()
