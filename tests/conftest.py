"""Rules for the whole suite."""

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

pytest_plugins = ["support.brokers", "support.engines", "support.tiers"]

# The same examples in every run, and no failure because the machine was busy.
settings.register_profile("andon", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("andon")


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
