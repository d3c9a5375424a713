"""An archive that a failed test leaves behind would take the engine from all that follow."""

from collections.abc import Iterator

import pytest
from support.archive_place import Place


@pytest.fixture(autouse=True)
def nobody_is_left() -> Iterator[None]:
    """Whatever a test has started is over when it is."""
    yield
    while Place.started:
        Place.started.pop().kill()
