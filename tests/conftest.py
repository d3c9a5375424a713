"""Rules for the whole suite."""

import os
from collections.abc import Iterator

import pytest
from outside import Line


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """With CI=true a skip whose reason begins with "needs " is a failure: that machine installs what tests need."""
    report = yield
    if os.environ.get("CI") and report.skipped and isinstance(report.longrepr, tuple):
        reason = report.longrepr[2].removeprefix("Skipped: ")
        if reason.startswith("needs "):
            report.outcome = "failed"
            report.longrepr = f"skipped with CI set: {reason}"
    return report


@pytest.fixture(scope="session")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    """The whole line, started once for all system tests: each test uses a fleet of its own."""
    running = Line(tmp_path_factory.mktemp("system") / "line")
    yield running
    assert running.stop() == 0
