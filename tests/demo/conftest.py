"""The demo that the tests of this folder share."""

from collections.abc import Iterator

import pytest
from support.grafana.played import Played, demo_in


@pytest.fixture(scope="package")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Played]:
    """The demo with two acts, kept until the tests are over."""
    with demo_in(tmp_path_factory.mktemp("demo")) as done:
        yield done
