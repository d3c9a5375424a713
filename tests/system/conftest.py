"""The line that the tests of this folder share."""

from collections.abc import Iterator

import pytest
from support.outside import Line


@pytest.fixture(scope="package")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    """The whole line, started once: each test uses a fleet of its own. It ends with the last of them, for even idle it
    takes half a core."""
    running = Line(tmp_path_factory.mktemp("system") / "line")
    yield running
    assert running.stop() == 0
