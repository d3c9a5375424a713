"""The picture of how large a state is."""

import xml.etree.ElementTree as ET

from pipeline.bench.state_plot import COLOURS, GOAL_BYTES, picture

SVG = "{http://www.w3.org/2000/svg}"


def test_what_is_linear_is_a_straight_line() -> None:
    """A point for each row, a line for each number of strata; where bytes grow as cells do, it rises with one slope."""
    rows = [{"updates": n, "strata": s, "bytes": 500 * n * s} for s in (8, 32, 59) for n in (8, 128, 2_048)]
    drawn = ET.fromstring(picture(rows))
    assert len(drawn.findall(f"{SVG}circle")) == len(rows)
    lines = [line.attrib["points"].split() for line in drawn.findall(f"{SVG}polyline")]
    assert len(lines) == 1 + len(COLOURS)
    for line in lines:
        (x1, y1), (x2, y2), (x3, y3) = ([float(part) for part in point.split(",")] for point in line)
        assert abs((y2 - y1) * (x3 - x2) - (y3 - y2) * (x2 - x1)) < 1.0 * (x3 - x1)
    assert f"{GOAL_BYTES // 1000} kB an update" in [text.text for text in drawn.findall(f"{SVG}text")]
