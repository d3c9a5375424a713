"""Marks and groups of tests, told by the fixtures that they use.

Marks: `unit`, in this process and in moments; `service`, with brokers, engines or processes of its own, or for long on
a core; `slow`, what only `make test-all` runs. A test that uses no fixture of a service but starts processes by itself
says `service`, or it fails; which are slow is always said. Coverage is of unit tests: of what others run, most is in
other processes.

Groups: tests that share a service, or what a module makes once, run in one process of pytest-xdist. All others run
wherever there is room. What takes longest begins first.
"""

import gc
import sys
from collections.abc import Generator, Iterator
from typing import Any

import pytest

# Fixtures of what is started once for the whole run: the group of those who use it. Of two the first counts.
SHARED = {
    "sasl_kafka": "secured",
    "tls_kafka": "secured",
    "kafka": "kafka",
    "databases": "clickhouse",
    "embedded": "embedded",
}
# Folders whose tests take as long as the rest of a group: they have such a service, and a process, for themselves.
APART = ("tests/correlate",)
# Fixtures whose parameter is the name of one of these.
CHOOSERS = ("broker", "account")
# Fixtures of what a test or a module has for itself.
OWN = frozenset({"broker", "built", "own_clickhouse", "schema", "kafka_jars"})

# Seconds on an idle machine, by group, or by file or test; what is not named takes less than the last.
SECONDS = {
    "clickhouse": 320,
    "kafka of tests/correlate": 225,
    "embedded": 200,
    "kafka": 200,
    "embedded of tests/correlate": 160,
    "tests/bench/test_faults_short.py": 150,
    "tests/system": 150,
    "tests/bench/test_faults_each.py": 90,
    "secured": 120,
    "tests/kafka/test_cluster.py::test_up_on_kafka": 60,
    "tests/demo": 110,
    "tests/deploy/test_run.py": 60,
    "tests/deploy/test_image.py": 60,
    "tests/kafka/test_three_brokers.py": 30,
    "tests/kafka/test_cluster.py": 15,
    "tests/decide/test_calibration.py": 25,
    "tests/decide/test_bound.py": 15,
    "tests/bakeoff/test_contest.py": 15,
    "tests/doctor/test_kafka.py": 20,
    "tests/collect/test_bounds.py": 20,
    "tests/archive/test_bench.py": 20,
    "tests/archive": 15,
    "tests/deadletter": 15,
    "tests/engine/test_accounts.py": 15,
    "tests/doctor/test_servers.py": 15,
    "tests/backtest/test_scenarios.py": 15,
}
SERVICE_SECONDS = 5


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection() -> Generator[None, object, object]:
    """What is collected, and all modules, stay to the end: no search for garbage is to walk through them again."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Iterator[None]:
    """Marks before anybody selects by them; the order when all others have had their say."""
    for item in items:
        assert isinstance(item, pytest.Function)
        _mark(item)
    yield
    items.sort(key=lambda item: (-_seconds(item), _named_group(item)))


def _mark(item: pytest.Function) -> None:
    group = _group(item)
    if group:
        item.add_marker(pytest.mark.xdist_group(group))
    if not any(item.get_closest_marker(name) for name in ("slow", "service")):
        is_service = bool(_shared(item)) or not OWN.isdisjoint(item.fixturenames)
        item.add_marker(pytest.mark.service if is_service else pytest.mark.unit)
    if not item.get_closest_marker("unit"):
        item.add_marker(pytest.mark.no_cover)


def _shared(item: pytest.Function) -> str:
    names = set(item.fixturenames)
    if (called := getattr(item, "callspec", None)) is not None:
        names.update(called.params.get(chooser, "") for chooser in CHOOSERS)
    return next((group for name, group in SHARED.items() if name in names), "")


def _group(item: pytest.Function) -> str:
    file = item.nodeid.partition("::")[0]
    folder = file.rpartition("/")[0]
    if shared := _shared(item):
        return f"{shared} of {folder}" if folder in APART else shared
    scopes = {made[-1].scope for made in item._fixtureinfo.name2fixturedefs.values()}
    return folder if "package" in scopes else file if "module" in scopes else ""


_in_unit_test = False


def _refuse_processes(event: str, _: tuple[Any, ...]) -> None:
    if _in_unit_test and event in ("subprocess.Popen", "os.posix_spawn", "os.fork"):
        raise AssertionError("a unit test starts no process: mark it `service`")


sys.addaudithook(_refuse_processes)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """From here on no process, when it is a unit test."""
    global _in_unit_test
    _in_unit_test = item.get_closest_marker("unit") is not None


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_teardown() -> None:
    """What ends after the last test of all may need what it likes."""
    global _in_unit_test
    _in_unit_test = False


def _named_group(item: pytest.Item) -> str:
    mark = item.get_closest_marker("xdist_group")
    return mark.args[0] if mark else ""


def _seconds(item: pytest.Item) -> int:
    if (group := _named_group(item)) in SECONDS:
        return SECONDS[group]
    named = [SECONDS[start] for start in SECONDS if item.nodeid.startswith(start)]
    return max(named, default=0 if item.get_closest_marker("unit") else SERVICE_SECONDS)
