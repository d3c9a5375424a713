"""What our code relies on in other people's packages beyond what they promise: when it moves, this says what moved.

Each package of the table is bounded on both sides in pyproject.toml. Whoever lifts a bound runs this first.
"""

import ast
import inspect
import logging
import tomllib
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import confluent_kafka
import faust
import msgspec
import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.client import AIOKafkaClient, CoordinationType
from aiokafka.cluster import ClusterMetadata
from aiokafka.consumer import fetcher
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.record.default_records import DefaultRecordBatch
from confluent_kafka import KafkaError
from faust.assignor.partition_assignor import PartitionAssignor
from faust.tables.base import Collection
from faust.transport.drivers import aiokafka as driver
from faust.web.drivers import aiohttp as web
from mode import Service
from packaging.requirements import Requirement

from pipeline.correlate import fetching
from pipeline.correlate.client import driver as client

ROOT = Path(__file__).parents[2]
FAUST, AIOKAFKA, MSGSPEC, CONFLUENT, CHDB = "faust-streaming", "aiokafka", "msgspec", "confluent-kafka", "chdb"


CONSUMER, THREAD = driver.Consumer, driver.AIOKafkaConsumerThread
FETCH = fetcher.Fetcher._proc_fetch_request
RECORDS = fetcher.PartitionRecords
BATCH_SAYS = ("base_offset", "is_control_batch", "producer_id")


class Reliance(NamedTuple):
    """That `look()` gives `expected` is relied on. `name` is the private name that our code uses, "" for a text or a
    shape, and then `what` says which."""

    package: str
    name: str
    expected: Any
    look: Callable[[], Any]
    what: str = ""


def parameters(function: Any) -> list[str]:
    """The names of its parameters."""
    return [name for name in inspect.signature(function).parameters if name != "self"]


def says(function: Any, words: str) -> Callable[[], bool]:
    """Whether its source has these words."""
    return lambda: words in inspect.getsource(function)


class Inner(msgspec.Struct, forbid_unknown_fields=True):
    """A table of a configuration."""

    a: int


Long = Annotated[str, msgspec.Meta(max_length=2)]
Filled = Annotated[str, msgspec.Meta(min_length=1)]
Few = Annotated[list[int], msgspec.Meta(max_length=1)]
Bounded = Annotated[int, msgspec.Meta(ge=1, le=2)]


def refusal(raw: str, hint: Any) -> Callable[[], str]:
    """How msgspec words what is wrong."""

    def look() -> str:
        with pytest.raises(msgspec.ValidationError) as error:
            msgspec.json.decode(raw, type=hint)
        return str(error.value)

    return look


def number_of_an_error(name: str) -> Reliance:
    """One of librdkafka's own errors, which are negative and have an underscore."""
    return Reliance(CONFLUENT, name, True, lambda: getattr(KafkaError, name) < 0)


def line_of_librdkafka() -> tuple[str, int, str, bool]:
    """Format, number of arguments, the first of them, and whether the last begins with the thread."""
    lines: list[logging.LogRecord] = []
    logger = logging.Logger("test")
    logger.addHandler(type("Keep", (logging.Handler,), {"emit": lambda _, record: lines.append(record)})())
    nobody = {"bootstrap.servers": "127.0.0.1:1", "group.id": "test", "logger": logger, "log_level": 4}
    consumer = confluent_kafka.Consumer(nobody)
    while not lines:
        consumer.poll(0.1)
    consumer.close()
    arguments: Any = lines[0].args
    return str(lines[0].msg), len(arguments), arguments[0], arguments[2].startswith("[thrd:")


def error_of_the_engine() -> str:
    """How chdb says that a statement is none."""
    chdb = pytest.importorskip("chdb", reason="needs chdb")
    with pytest.raises(RuntimeError) as error:
        chdb.query("SELEC 1")
    return str(error.value)[:24]


def statements_of_the_engine() -> tuple[int, str]:
    """How chdb says how many statements a text holds, and what they would do."""
    chdb = pytest.importorskip("chdb", reason="needs chdb")
    connection = chdb.connect(":memory:")
    found = connection._conn.classify_query("SELECT 1 PARALLEL WITH SET ROLE ALL")
    return found["statement_count"], found["query_class"].name


def calls_on(name: str, function: Any) -> set[str]:
    """The methods that a function calls on what it calls so."""
    tree = ast.parse(inspect.cleandoc("\n" + inspect.getsource(function)))
    called = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return {of.attr for of in called if isinstance(of, ast.Attribute) and ast.unparse(of.value) == name}


# correlate/client/driver.py: a consumer that reads committed, commits what it is told, and loses nothing meanwhile.
THE_CONSUMER = [
    Reliance(FAUST, "_create_worker_consumer", ["transport"], lambda: parameters(THREAD._create_worker_consumer)),
    Reliance(FAUST, "_new_consumer_thread", [], lambda: parameters(CONSUMER._new_consumer_thread)),
    Reliance(FAUST, "_decompress", ["compressed"], lambda: parameters(PartitionAssignor._decompress)),
    Reliance(FAUST, "_seek", ["partition", "offset"], lambda: parameters(CONSUMER._seek)),
    Reliance(FAUST, "_is_changelog_tp", ["tp"], lambda: parameters(CONSUMER._is_changelog_tp)),
    Reliance(FAUST, "_commit", ["offsets"], lambda: parameters(CONSUMER._commit)),
    Reliance(FAUST, "_add_gap", ["tp", "offset_from", "offset_to"], lambda: parameters(CONSUMER._add_gap)),
    Reliance(FAUST, "_ensure_consumer", [], lambda: parameters(THREAD._ensure_consumer)),
    Reliance(FAUST, "_thread", True, lambda: "_thread" in CONSUMER.__annotations__),
    Reliance(FAUST, "", True, says(THREAD.on_start, "loop=self.thread_loop"), "the loop of the consumer's thread"),
    Reliance(FAUST, "", True, says(CONSUMER._drain_messages, "self._add_gap("), "gaps are noted while it reads"),
    Reliance(FAUST, "", True, says(CONSUMER._new_consumer_thread, "AIOKafkaConsumerThread("), "the thread's class"),
    Reliance(FAUST, "", True, lambda: driver.Transport.Consumer is CONSUMER, "the consumer's class"),
    Reliance(FAUST, "", ["timeout"], lambda: parameters(CONSUMER.getmany), "getmany"),
    Reliance(FAUST, "", ["tps"], lambda: parameters(CONSUMER.resume_partitions), "resume_partitions"),
    Reliance(FAUST, "", [], lambda: parameters(CONSUMER.seek_to_committed), "seek_to_committed"),
    Reliance(FAUST, "", [], lambda: parameters(CONSUMER.stop_flow), "stop_flow"),
    Reliance(AIOKAFKA, "", ["topic"], lambda: parameters(ClusterMetadata.partitions_for_topic), "partitions by now"),
    Reliance(FAUST, "", ["partition", "key", "value"], lambda: parameters(Collection.send_changelog)[:3], "changelog"),
    Reliance(FAUST, "", True, says(CONSUMER._to_message, "record.checksum,"), "a message's checksum is the record's"),
    Reliance(FAUST, "", True, lambda: hasattr(faust.App, "consumer_generation_id"), "which rebalance it is"),
    Reliance(FAUST, "", True, lambda: {"should_stop", "crash_reason"} <= set(dir(Service)), "that an app has ended"),
]
# correlate/pages.py: the server's connections and the site that they come by.
THE_PAGES = [
    Reliance(FAUST, "_runner", True, says(web.Web.start_server, "await self._runner.setup()")),
    Reliance(FAUST, "_transport_handlers", True, says(web.Web._new_transport, "self._transport_handlers[type_]()")),
    Reliance(FAUST, "", True, says(web.Web.stop_server, "await self._runner.cleanup()"), "the end of its runner"),
]
# correlate/fetching.py: aborted transactions, and answers that come empty at once. doctor/rights.py: the last two.
THE_FETCHER = [
    Reliance(AIOKAFKA, "_isolation_level", True, says(AIOKafkaConsumer, "isolation_level=self._isolation_level")),
    Reliance(AIOKAFKA, "_coordinator", True, says(AIOKafkaConsumer.start, "self._coordinator = GroupCoordinator(")),
    Reliance(AIOKAFKA, "_client", True, says(AIOKafkaConsumer.__init__, "self._client = AIOKafkaClient(")),
    Reliance(AIOKAFKA, "", [], lambda: parameters(AIOKafkaClient.force_metadata_update), "to ask for the topics"),
    Reliance(AIOKAFKA, "", [], lambda: parameters(GroupCoordinator.request_rejoin), "to be assigned anew"),
    Reliance(AIOKAFKA, "_proc_fetch_request", ["assignment", "node_id", "request"], lambda: parameters(FETCH)),
    Reliance(AIOKAFKA, "_consumer_record", ["tp", "record"], lambda: parameters(RECORDS._consumer_record)),
    Reliance(AIOKAFKA, "", True, says(RECORDS._unpack_records, "self.next_fetch_offset = "), "where the next fetch is"),
    Reliance(AIOKAFKA, "_contains_abort_marker", ["next_batch"], lambda: parameters(RECORDS._contains_abort_marker)),
    Reliance(
        AIOKAFKA,
        "",
        ["tp", "records", "aborted_transactions", "fetch_offset"],
        lambda: parameters(RECORDS.__init__)[:4],
        "what a partition's records are made of",
    ),
    Reliance(AIOKAFKA, "", True, says(FETCH, " PartitionRecords("), "made by that name, which we replace"),
    Reliance(
        AIOKAFKA,
        "",
        {"has_next", "next_batch"},
        lambda: calls_on("records", RECORDS._unpack_records),
        "what is asked of the batches",
    ),
    Reliance(AIOKAFKA, "", True, lambda: set(BATCH_SAYS) <= set(dir(DefaultRecordBatch)), "what a batch says"),
    Reliance(
        AIOKAFKA,
        "",
        ["coordinator_type", "coordinator_key"],
        lambda: parameters(AIOKafkaClient.coordinator_lookup),
        "coordinator_lookup",
    ),
    Reliance(AIOKAFKA, "", 1, lambda: int(CoordinationType.TRANSACTION), "the coordinator of transactions"),
]
# Everywhere: errors that librdkafka makes up itself. runtime/kafka_log.py: its lines.
LIBRDKAFKA = [
    number_of_an_error("_AUTHENTICATION"),
    number_of_an_error("_AUTO_OFFSET_RESET"),
    number_of_an_error("_FATAL"),
    number_of_an_error("_FENCED"),
    number_of_an_error("_ALL_BROKERS_DOWN"),
    number_of_an_error("_MSG_TIMED_OUT"),
    number_of_an_error("_PARTITION_EOF"),
    number_of_an_error("_RESOLVE"),
    number_of_an_error("_SSL"),
    number_of_an_error("_TIMED_OUT"),
    number_of_an_error("_TRANSPORT"),
    Reliance(CONFLUENT, "", ("%s [%s] %s", 3, "FAIL", True), line_of_librdkafka, "a line of its log"),
]
# wire/events.py and runtime/wrong.py: the words of a refusal, and where it stands.
REFUSALS = {
    "Object missing required field `a`": ("{}", Inner),
    "Object contains unknown field `b`": ('{"a":1,"b":1}', Inner),
    "Expected `object`, got `int`": ("1", Inner),
    "Expected `int`, got `str` - at `$.a`": ('{"a":"x"}', Inner),
    "Expected `int`, got `str` - at `$[1].a`": ('[{"a":1},{"a":"x"}]', list[Inner]),
    "Expected `int`, got `str` - at `$[...]`": ('{"a":"x"}', dict[str, int]),
    "Expected `str` of length >= 1 - at `key` in `$`": ('{"":1}', dict[Filled, int]),
    "Invalid enum value 'b'": ('"b"', Literal["a"]),
    "Expected `array` of length <= 1": ("[1,2]", Few),
    "Expected `str` of length <= 2": ('"abc"', Long),
    "Expected `str` of length >= 1": ('""', Filled),
    "Expected `int` >= 1": ("0", Bounded),
    "Expected `int` <= 2": ("3", Bounded),
    "Integer value out of range": ("1" * 5_000, Bounded),
}
RELIANCES = [
    *THE_CONSUMER,
    *THE_PAGES,
    *THE_FETCHER,
    *LIBRDKAFKA,
    *(Reliance(MSGSPEC, "", words, refusal(*example), words) for words, example in REFUSALS.items()),
    # local/clickhouse/agreement.py, failure.py
    Reliance(CHDB, "_conn", (2, "CONTROL"), statements_of_the_engine),
    Reliance(CHDB, "", "Code: 62. DB::Exception:", error_of_the_engine, "how an error is worded"),
]
PRIVATE = {reliance.name for reliance in RELIANCES if reliance.name}
PROMISED = {"_asdict", "_replace", "_fields", "_field_defaults", "_exit"}  # the standard library's, documented


@pytest.mark.parametrize("reliance", RELIANCES, ids=[f"{each.package}: {each.name or each.what}" for each in RELIANCES])
def test_it_is_as_it_was(reliance: Reliance) -> None:
    """The name, the shape or the words are those that our code was written for."""
    assert reliance.look() == reliance.expected


def own_names(tree: ast.Module) -> set[str]:
    """What a module defines, or sets on its own objects."""
    nodes = list(ast.walk(tree))
    defined = {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)}
    stored = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    return defined | stored | {node.attr for node in nodes if is_own(node)}


def is_own(node: ast.AST) -> bool:
    """Whether it sets an attribute of `self`."""
    return isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and ast.unparse(node.value) == "self"


def is_private(name: str) -> bool:
    """One underscore before it."""
    return name.startswith("_") and not name.startswith("__")


def strange_names() -> Iterator[tuple[str, str]]:
    """Every private name that a module of ours reads from something that it did not define, and the module."""
    for path in sorted([*ROOT.glob("pipeline/**/*.py"), *ROOT.glob("consumers/**/*.py")]):
        tree = ast.parse(path.read_text("utf-8"))
        own = own_names(tree)
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and is_private(node.attr) and node.attr not in own | PROMISED:
                yield node.attr, path.relative_to(ROOT).as_posix()


def test_the_table_lacks_no_private_name() -> None:
    """A private name of somebody else's that code of ours reads stands in the table."""
    found = dict(strange_names())
    assert "_PARTITION_EOF" in found, "the search sees nothing"
    assert {name: where for name, where in found.items() if name not in PRIVATE} == {}


@pytest.mark.parametrize(
    ("ours", "own"),
    [
        (client.ReadCommittedThread, {"rejoin"}),
        (client.ReadCommittedConsumer, {"commit_to"}),
        (client.Transport, {"began"}),
        (fetching.CommittedRecords, {"passed", "newest", "came_at"}),
    ],
)
def test_what_is_overridden_is_there_to_be(ours: type, own: set[str]) -> None:
    """A method that the package no longer calls under this name would change nothing any more, silently."""
    mine = {name for name in vars(ours) if not name.startswith("__")} - own - {"_abc_impl", "logger"}
    assert {name for name in mine if not hasattr(ours.__mro__[1], name)} == set()


@pytest.mark.parametrize("package", sorted({reliance.package for reliance in RELIANCES}))
def test_the_package_is_bounded(package: str) -> None:
    """Below and above in pyproject.toml, and what is installed lies between."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    listed = [*project["dependencies"], *extras["line"], *extras["local"]]
    (found,) = (each for each in map(Requirement, listed) if each.name == package)
    assert {bound.operator for bound in found.specifier} == {">=", "<"}
    assert version(package) in found.specifier
