"""The figures as a page."""

from collections.abc import Sequence
from pathlib import Path

from pipeline.bakeoff.figures import Summary
from pipeline.bakeoff.spec import Family


def write_page(path: Path, families: Sequence[Family], summaries: dict[str, list[Summary]]) -> None:
    """Not yet."""
    raise NotImplementedError
