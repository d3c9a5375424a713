"""docs/design.md says what the code does: rooms, reasons, topics, examples, weights, states, flags and policy keys."""

import re
from pathlib import Path
from typing import get_args

import msgspec
import numpy as np
import pytest

from pipeline.bench.faults.main import SCENARIOS
from pipeline.bench.maxsprt import critical_value
from pipeline.decide import evidence, explain, history
from pipeline.decide.blind.flags import REASONS
from pipeline.decide.detector import Detector
from pipeline.decide.policy import Policy, PolicySet
from pipeline.wire import topics
from pipeline.wire.acks import HaltAck
from pipeline.wire.decode import decode_event
from pipeline.wire.events import Boot, Crash, Heartbeat
from pipeline.wire.halts import Halt
from pipeline.wire.partials import PARTIAL_VERSION, Partial, Stratum
from pipeline.wire.reasons import Reason
from pipeline.wire.spans import DAY_MS, HOUR_MS
from pipeline.wire.verdicts import State
from pipeline.wire.words import HALF_BLIND

ROOT = Path(__file__).parents[2]
DESIGN = (ROOT / "docs" / "design.md").read_text("utf-8")
PERIODS = {
    "2 days": 2 * DAY_MS, "6 hours": 6 * HOUR_MS, "30 days": 30 * DAY_MS, "7 days": 7 * DAY_MS, "for ever": -1,
}  # fmt: skip


def table(heading: str) -> list[list[str]]:
    """The cells of the first table whose header row starts so, without the header."""
    rows = DESIGN.partition(f"\n| {heading} |")[2].partition("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def words(cells: list[list[str]]) -> set[str]:
    """What the first column quotes."""
    return {word for row in cells for word in re.findall(r"`([^`]+)`", row[0])}


def test_every_room_is_in_the_table() -> None:
    """Each folder that holds modules, and no other."""
    modules = [path for top in ("pipeline", "consumers") for path in (ROOT / top).rglob("*.py")]
    rooms = {path.parent.relative_to(ROOT).as_posix() for path in modules if path.name != "__init__.py"}
    assert words(table("folder")) == rooms - {"pipeline"}


def test_reasons_and_states_are_all_there() -> None:
    """Every reason code and every verdict state, and no other."""
    assert words(table("reason")) == {reason.value for reason in Reason}
    assert words(table("state")) == set(get_args(State))


def test_topics_are_as_defined() -> None:
    """Name, key, partitions, cleanup and retention of every topic."""
    rows = {row[0].strip("`"): row for row in table("topic")}
    assert set(rows) == {topic.name for topic in topics.ALL}
    for topic in topics.ALL:
        _, key, partitions, cleanup, kept, _ = rows[topic.name]
        assert (key, int(partitions), cleanup) == (topic.key, topic.partitions, topic.config["cleanup.policy"])
        assert str(PERIODS.get(kept, "")) == topic.config.get("retention.ms", "")


def test_examples_decode() -> None:
    """One valid event of each kind; the fields of the table are those of the types."""
    block = re.search(r"```json\n(.*?)```", DESIGN, re.DOTALL)
    assert block is not None
    events = [decode_event(line.encode()) for line in block[1].splitlines()]
    assert [type(event) for event in events] == [Boot, Crash, Heartbeat]
    fields = {field.name for kind in (Boot, Crash, Heartbeat) for field in msgspec.structs.fields(kind)}
    assert words(table("field")) == fields | {"kind"}


def test_flags_are_the_codes() -> None:
    """Each flag is one that the detector gives, or the correlator that feeds it."""
    rooms = ("decide", "correlate")
    code = "".join(path.read_text("utf-8") for room in rooms for path in (ROOT / "pipeline" / room).rglob("*.py"))
    assert {flag for flag in words(table("flag | what")) if f'"{flag}"' not in code} == set()


def test_half_blind_telemetry_is_explained() -> None:
    """Each reason has words for people, and a row that says how it is told and what it costs."""
    assert words(table("flag | told by | what it costs")) == HALF_BLIND.keys() == {*REASONS, "sampled"}


def test_faults_are_the_benches() -> None:
    """Every scenario of `andon bench faults`."""
    assert words(table("`--scenario`")) == set(SCENARIOS)


@pytest.mark.parametrize(("rings", "kept"), [(1, 59), (8, 52), (16, 44)])
def test_so_many_strata_are_kept(rings: int, kept: int) -> None:
    """As the page says: 60 less one for each ring; the others fold into their rings."""
    assert re.search(r"60 strata less one for each\s+ring", DESIGN)
    strata = tuple(Stratum(f"ring-{model % rings}", "os", f"model-{model}") for model in range(200))
    detector = Detector("acme", PolicySet())
    detector.step(Partial(PARTIAL_VERSION, "acme", "0", 0, 0, 0, 0, (), strata, b"", b"", (), b"", b"", ()))
    named = {name for _, name in detector.state.names.strata.live()}
    assert len(named & set(strata)) == kept


def test_policy_keys_and_halt_fields_are_named() -> None:
    """Every key of a policy and every field of a halt and of its acknowledgement."""
    for struct in (Policy, Halt, HaltAck):
        for field in msgspec.structs.fields(struct):
            assert f"`{field.name}`" in DESIGN


def test_constants_of_the_statistics() -> None:
    """Weights, grids, limits and critical values stand there as the code has them."""
    shown = {row[0]: float(row[1].split()[0]) for row in table("explanation")}
    assert list(shown.values()) == [entry.weight for entry in explain.EXPLANATIONS]
    assert sum(entry.weight for entry in explain.EXPLANATIONS) <= 1 + 1e-12
    assert re.search(rf"\b{len(evidence.THETA)}\s+relative", DESIGN)
    assert (evidence.THETA[0], evidence.THETA[-1]) == (1.5, 1024)
    assert np.isclose(np.exp(evidence.LOG_WEIGHT).sum(), 1)
    assert (evidence.SHOCK_LIMIT, history.HOURS, history.UNKNOWN_DRIFT, evidence.LIMIT_ERRORS) == (7, 26, 1.5, 1.64)
    for horizon, published in re.findall(r"T=(\d+)\s(\d\.\d{6})", DESIGN):
        assert abs(critical_value(0.05, float(horizon)) - float(published)) < 2e-3
