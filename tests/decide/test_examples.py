"""The examples of the parts of pipeline/decide run as they stand in their documentation."""

import doctest
import importlib
from pathlib import Path

import pytest

from pipeline import decide

MODULES = sorted(path.stem for path in Path(decide.__file__).parent.glob("*.py") if ">>>" in path.read_text("utf-8"))


def test_there_are_examples() -> None:
    """The search finds them, so that the test below says something."""
    assert {"arrays", "buckets", "name_index", "notes", "standing"} <= set(MODULES)


@pytest.mark.parametrize("module", MODULES)
def test_examples_run(module: str) -> None:
    """What is shown is what comes out."""
    failed, tried = doctest.testmod(importlib.import_module(f"pipeline.decide.{module}"))
    assert tried
    assert not failed
