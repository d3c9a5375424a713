"""The demo that the tests of this folder share."""

from collections.abc import Iterator

import pytest
from support.built.wheel import Built, wheel_beside_our_packages
from support.grafana.played import Played, demo_in


@pytest.fixture(scope="package")
def played(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Played]:
    """The demo with two acts, kept until the tests are over. It is the wheel that plays it, away from the sources: a
    file that is not in it is missed here."""
    andon = wheel_beside_our_packages(built.wheel, tmp_path_factory.mktemp("wheel") / "venv")
    with demo_in(tmp_path_factory.mktemp("demo"), [str(andon)]) as done:
        yield done
