"""What `andon backtest` reads: files of three kinds, bad lines, bad files, times that cannot be."""

import gzip
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import zstandard
from click.testing import CliRunner, Result
from support.backtest_lines import NOW_MS, line

from pipeline.backtest.lines import batches, split
from pipeline.backtest.main import command
from pipeline.backtest.run import AT_ONCE, Backtest
from pipeline.backtest.stream import AHEAD_MS, GAP_EVENTS, StreamClock
from pipeline.decide.policy import PolicySet
from pipeline.runtime.errors import ConfigError
from pipeline.wire.decode import decode_event
from pipeline.wire.events import MAX_MESSAGE_BYTES, AnyEvent


def events(count: int, ts: int = NOW_MS) -> list[AnyEvent]:
    return [decode_event(line(number, ts + number)) for number in range(count)]


def read(path: Path) -> list[bytes]:
    return [row for batch in batches(str(path), lambda _: None) for row in batch]


def run(*arguments: str, stdin: bytes = b"") -> Result:
    return CliRunner().invoke(command, list(arguments), input=stdin)


def summary(result: Result) -> dict[str, Any]:
    assert result.exit_code == 0, result.output
    last: dict[str, Any] = json.loads(result.output.splitlines()[-1])
    return last


@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstandard.ZstdCompressor().compress])
def test_plain_gzip_and_zstd_read_alike(pack: Any, tmp_path: Path) -> None:
    """The file's first bytes tell how it is packed, whatever its name; two packed parts in a row are one file."""
    rows = [line(number) for number in range(1_000)]
    half = b"\n".join(rows[:500]) + b"\n"
    path = tmp_path / "events"
    path.write_bytes(pack(half) + pack(b"\n".join(rows[500:])))
    assert read(path) == rows


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.ZstdCompressor().compress])
def test_a_file_cut_off_is_an_error(pack: Any, tmp_path: Path) -> None:
    """Half of a packed file is not taken for a whole one."""
    packed = pack(b"\n".join(line(number) for number in range(20_000)))
    path = tmp_path / "events.packed"
    path.write_bytes(packed[: len(packed) // 2])
    with pytest.raises(ConfigError, match="cannot be read"):
        read(path)


def test_progress_follows_the_bytes_of_the_file(tmp_path: Path) -> None:
    """What is advanced adds up to the file's size, also when it is packed."""
    path = tmp_path / "events.gz"
    path.write_bytes(gzip.compress(b"\n".join(line(number) for number in range(20_000))))
    steps: list[int] = []
    assert sum(len(batch) for batch in batches(str(path), steps.append)) == 20_000
    assert sum(steps) == path.stat().st_size


def test_a_line_without_end_is_refused_in_bounded_memory() -> None:
    """Ten megabytes without a line break count as one oversized line, and what follows is read."""
    stream = io.BytesIO(line(1) + b"\n" + b"x" * 10_000_000 + b"\n" + line(2))
    rows = [row for batch in split(stream.read, lambda _: None) for row in batch]
    assert [rows[0], rows[-1], len(rows)] == [line(1), line(2), 3]
    assert MAX_MESSAGE_BYTES < len(rows[1]) < 2 * MAX_MESSAGE_BYTES


def test_bad_lines_are_counted_by_reason_and_stop_nothing() -> None:
    """Each refusal has its reason; blank lines are none."""
    bad = [b"{", b"[]", line(v=2), line(kind="?"), line(updates=None), line(ts=5), b"\xff\xfe", b"x" * 70_000, b"\x00"]
    good = [line(number) for number in range(10)]
    backtest = Backtest(PolicySet())
    halts = [*backtest.take([*good[:5], *bad, b" ", b"\r", *good[5:]]), *backtest.finish()]
    assert halts == []
    assert backtest.judging.events == 10
    assert dict(backtest.notes.refused) == {
        "invalid_json": 3,
        "not_an_object": 1,
        "unknown_version": 1,
        "unknown_kind": 1,
        "wrong_type": 1,
        "ancient_timestamp": 1,
        "oversized": 1,
    }


def test_summary_counts_events_and_refused_lines() -> None:
    """`-` is standard input; the last line is the summary."""
    result = run("-", "--json", stdin=b"\n".join([line(1), b"nonsense", line(2)]))
    found = summary(result)
    assert (found["events"], found["rejected"], found["halts"]) == (2, 1, 0)


def test_fleets_are_kept_apart_in_the_summary() -> None:
    """With two fleets every update is named behind its fleet."""
    rows = [
        line(10_000 * fleet + number, NOW_MS + number * 100, fleet=f"fleet-{fleet}")
        for number in range(7_000)
        for fleet in (1, 2)
    ]
    evidence = summary(run("-", "--json", stdin=b"\n".join(rows)))["max_log10_evidence"]
    assert set(evidence) == {"fleet-1/v/p/1", "fleet-2/v/p/1"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["/nonexistent/events.ndjson"], "/nonexistent/events.ndjson: cannot be read: No such file"),
        (["/"], "cannot be read"),
        (["-", "--policy", "/nonexistent/p.toml"], "--policy /nonexistent/p.toml: cannot be read"),
    ],
)
@pytest.mark.service
def test_what_cannot_be_read_ends_with_exit_code_2(arguments: list[str], words: str) -> None:
    """One line says which file and why."""
    argv = [sys.executable, "-m", "pipeline", "backtest", *arguments]
    done = subprocess.run(argv, input=b"", capture_output=True, timeout=60, check=False)
    assert done.returncode == 2
    assert words in done.stderr.decode()
    assert len(done.stderr.splitlines()) == 1


def test_a_bad_policy_names_key_and_value(tmp_path: Path) -> None:
    """A policy that may not be is refused before anything is read."""
    path = tmp_path / "p.toml"
    path.write_text("[default]\nalpha = 3\n", "utf-8")
    result = run("-", "--policy", str(path))
    assert isinstance(result.exception, ConfigError)
    assert result.exception.exit_code == 2
    assert "alpha = 3" in str(result.exception)


def test_the_table_escapes_what_endpoints_say() -> None:
    """A version that would drive the terminal is shown, not obeyed."""
    hostile = [{"vendor": "v\x1b[31m[bold]", "product": "p", "version": "\x00", "installed_at": NOW_MS - 1}]
    rows = [line(number, NOW_MS + number * 100, updates=hostile) for number in range(7_000)]
    result = run("-", stdin=b"\n".join(rows))
    assert result.exit_code == 0
    assert "\\x1b[31m[bold]" in result.output
    assert "\x1b" not in result.output


def test_what_goes_into_a_pipe_is_whole() -> None:
    """Names as long as they may be stand uncut, one update a line."""
    name = {field: 128 * letter for field, letter in (("vendor", "v"), ("product", "p"), ("version", "1"))}
    rows = [
        line(number, NOW_MS + number * 100, updates=[name | {"installed_at": NOW_MS - 1}]) for number in range(7_000)
    ]
    output = run("-", stdin=b"\n".join(rows)).output
    assert any("/".join(name.values()) in row for row in output.splitlines())


def test_an_event_of_the_future_is_refused() -> None:
    """More than a day ahead of the stream, alone or first of all: refused, and the clock stands."""
    clock = StreamClock()
    future = decode_event(line(9, NOW_MS + 2 * AHEAD_MS))
    admitted = [*clock.admit([future, *events(300)]), *clock.admit([future]), *clock.admit(events(300, NOW_MS + 1_000))]
    clock.finish()
    assert (len(admitted), clock.refused) == (600, 2)
    assert clock.now_ms < NOW_MS + 60_000


def test_a_gap_in_the_file_is_crossed_without_loss() -> None:
    """A file that goes on three days later is read on, from its first event there."""
    clock = StreamClock()
    later = events(2 * GAP_EVENTS, NOW_MS + 3 * AHEAD_MS)
    admitted = [*clock.admit(events(300))]
    for start in range(0, len(later), 100):
        admitted += clock.admit(later[start : start + 100])
    clock.finish()
    assert (len(admitted), clock.refused) == (300 + len(later), 0)
    assert clock.now_ms >= NOW_MS + 3 * AHEAD_MS


def test_what_is_refused_when_a_gap_is_crossed_is_counted() -> None:
    """Also an event that what follows it catches up with: none is neither admitted nor refused."""
    clock = StreamClock()
    ahead = decode_event(line(9, NOW_MS + 5 * AHEAD_MS - 3_600_000))
    rows = [*events(500, NOW_MS + 3 * AHEAD_MS), ahead, *events(500, NOW_MS + 4 * AHEAD_MS - 60_000)]
    admitted = [*clock.admit(events(300)), *clock.admit(rows), *clock.finish()]
    assert (len(admitted), clock.refused) == (300 + len(rows) - 1, 1)


def sparse(count: int, minutes: int) -> list[bytes]:
    """So many lines, one in so many minutes, and twenty more after a gap of a week."""
    last = count * minutes + 7 * 24 * 60
    moments = [*range(0, count * minutes, minutes), *range(last, last + 20 * minutes, minutes)]
    return [line(number, NOW_MS + at * 60_000) for number, at in enumerate(moments)]


@pytest.mark.parametrize("minutes", [10, 180])
def test_all_of_a_small_fleet_is_in_time(minutes: int) -> None:
    """However few events a day has, and though the file ends soon after a gap of a week, nothing is refused."""
    clock = StreamClock()
    rows = [decode_event(row) for row in sparse(2_000, minutes)]
    admitted = [event for at in range(0, len(rows), AT_ONCE) for event in clock.admit(rows[at : at + AT_ONCE])]
    assert [*admitted, *clock.finish()] == rows
    assert clock.refused == 0


def test_a_small_fleet_s_file_is_read_whole() -> None:
    """The same of a file, by its summary; empty days of stream time are what it takes, so it is of fewer days."""
    found = summary(run("-", "--json", stdin=b"\n".join(sparse(3 * AT_ONCE, 10))))
    assert (found["events"], found["rejected"]) == (3 * AT_ONCE + 20, 0)


def test_no_line_of_a_file_turned_round_has_a_number(tmp_path: Path) -> None:
    """Counted from its end it would be another line of the file; of a file that is read as it stands it is right."""
    rows = [line(number, NOW_MS + number) for number in range(30)]
    rows[4], rows[9] = b'{"bad": 1}', line(9, NOW_MS + 9, site=7)
    path = tmp_path / "events"
    for content, numbers in ((rows, {5, 10}), (rows[::-1], {0})):
        path.write_bytes(b"\n".join(content))
        assert {example["line"] for example in summary(run(str(path), "--json"))["first"].values()} == numbers


def test_late_reports_are_not_refused() -> None:
    """Up to a week old is normal for a host that was off."""
    clock = StreamClock()
    assert len([*clock.admit(events(300)), *clock.admit(events(300, NOW_MS - 7 * AHEAD_MS))]) == 600
    assert clock.refused == 0


@pytest.mark.parametrize("option", [("--since", "2024-07-18"), ("--until", "2024-07-20"), ("--fleet", "acme")])
def test_options_for_clickhouse_are_refused_with_files(tmp_path: Path, option: tuple[str, str]) -> None:
    """They would select nothing from a file: the account would be of more than was asked for."""
    path = tmp_path / "events.ndjson"
    path.write_bytes(line() + b"\n")
    assert run(str(path)).exit_code == 0
    refused = run(str(path), *option)
    assert refused.exit_code == 2
    assert f"{option[0]} needs --from-clickhouse" in refused.output
