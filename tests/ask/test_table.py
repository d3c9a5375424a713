"""How an answer looks on a terminal that is too narrow for it, and in a pipe."""

import io

from consumers.clickhouse.ask.answer import Answer
from consumers.clickhouse.ask.table import laid_out
from pipeline.runtime.console import SafeConsole

REASON = "14 hosts crashed with 0x50 / csagent.sys, 0.8 expected; relative risk at least 2339; evidence 10^12.5"
MOMENT = "SimpleAggregateFunction(min, Nullable(DateTime64(3, 'UTC')))"
HALTS = Answer(
    ["at", "product", "hosts", "reason"],
    [MOMENT, "LowCardinality(String)", "UInt64", "String"],
    [["2024-07-19 04:12:03.107", "falcon-content", 14, REASON], [None, "chrome", 3, ""]],
    2,
)


def shown(answer: Answer, width: int, is_terminal: bool = True) -> list[str]:
    """Lines of the screen."""
    output = io.StringIO()
    out = SafeConsole(file=output, width=width, force_terminal=is_terminal, color_system=None)
    out.print(laid_out(answer, out))
    return [line.rstrip() for line in output.getvalue().splitlines() if line.strip()]


def test_a_reason_stands_on_a_line_of_its_own() -> None:
    """Where the rest fits: columns stay columns, times are short, and a sentence goes from edge to edge."""
    header, first, reason, more, second = shown(HALTS, 80)
    assert header.split() == ["at", "product", "hosts"]
    assert first.split() == ["2024-07-19", "04:12:03", "falcon-content", "14"]
    assert f"{reason.strip()} {more.strip()}" == REASON
    assert second.split() == ["chrome", "3"]
    assert first.rindex("14") + 1 == second.rindex("3")


def test_a_wide_answer_is_told_row_by_row() -> None:
    """Twelve columns: a line for each, with its whole name and value, within the terminal."""
    names = [f"column_of_figures_{number}" for number in range(12)]
    lines = shown(
        Answer(names, ["UInt64"] * 12, [[row + number for number in range(12)] for row in (10**9, 10**10)], 2), 80
    )
    assert len(lines) == 2 * 13
    assert lines[1].split() == ["column_of_figures_0", "1000000000"]
    assert max(map(len, lines)) <= 80


EVIDENCE = Answer(
    ["at", "vendor", "product", "version", "log10_evidence", "threshold", "crashed_hosts", "adjusted_excess_low"],
    ["DateTime('UTC')", "String", "String", "String", "Float64", "Float64", "UInt64", "Nullable(Float64)"],
    [
        [f"2024-07-19 04:{minute:02}:00", "crowdstrike", "falcon-content", version, 268.62, 6.0, 116, -0.00038791]
        for minute, version in ((3, "291"), (2, "291"), (1, "290"))
    ],
    3,
)


def test_a_wide_table_is_narrowed_until_it_fits() -> None:
    """What every row has is told once, names fold at their underscores, and an update stands on a line above its rows,
    once; nothing is left out, and it is still a table."""
    answer = EVIDENCE._replace(rows=[[*row[:4], row[4] + at, 6.0, 116 + at, row[7] * (1 + at)] for at, row in enumerate(
        EVIDENCE.rows
    )])  # fmt: skip
    wide = shown(answer, 140)
    assert len(wide) == 2 + 3
    one = answer._replace(rows=[[*row[:3], "291", *row[4:]] for row in answer.rows])
    lines = shown(one, 80)
    assert lines[0] == "every row: vendor crowdstrike, product falcon-content, version 291, threshold 6"
    assert [line.split() for line in lines[-3:]] == [
        ["04:03", "268.6", "116", "-0.0003879"],
        ["04:02", "269.6", "117", "-0.0007758"],
        ["04:01", "270.6", "118", "-0.001164"],
    ]
    lines = shown(answer, 60)
    assert max(map(len, lines)) <= 60
    at = lines.index("crowdstrike/falcon-content/291")
    assert [line.split()[0] for line in lines[at - 1 : at + 3]] == ["2024-07-19", lines[at], "04:03", "04:02"]
    assert lines[at + 3] == "crowdstrike/falcon-content/290"
    lines = shown(answer, 40)
    assert max(map(len, lines)) <= 40
    assert lines[-1].split()[1:] == ["271", "118", "-0.0012"]


def test_a_long_text_is_folded_beside_its_name() -> None:
    """Two columns, one of sentences: a table still, within the terminal, without a word lost."""
    sentences = [f"{'word ' * 30}{end}" for end in ("one", "two")]
    rows = [[f"table_{at}", sentence] for at, sentence in enumerate(sentences)]
    lines = shown(Answer(["name", "what_it_is"], ["String", "String"], rows, 2), 60)
    assert max(map(len, lines)) <= 60
    assert lines[1].startswith("table_0 word")
    assert " ".join(" ".join(lines[1:]).split()).count("word") == 60


def test_a_day_that_all_share_goes_into_the_header_where_room_is_short() -> None:
    """Minutes of one night; in a pipe everything is as it came, a row a line, however wide."""
    times = [[f"2024-07-19 04:{minute:02}:00", "x" * 62] for minute in range(3)]
    answer = Answer(["minute", "ring"], ["DateTime('UTC')", "String"], times, 3)
    assert [line.split()[0] for line in shown(answer, 80)[3:]] == ["04:00", "04:01", "04:02"]
    assert [line.split()[0] for line in shown(answer, 80)[:2]] == ["minute", "2024-07-19"]
    assert shown(answer, 100)[2].split()[:2] == ["2024-07-19", "04:00"]
    piped = shown(HALTS, 1_000, is_terminal=False)
    assert piped[2].split()[1:] == ["04:12:03.107", "falcon-content", "14", *REASON.split()]


def test_hostile_text_cannot_drive_the_terminal_in_any_form() -> None:
    """Names and values, in a table, beside and below."""
    hostile = "\x1b[2J\u202e[bold]"
    for width in (20, 60, 300):
        lines = shown(Answer(["reason", hostile], ["String"] * 2, [[hostile * 3, hostile]], 1), width)
        assert all(line.isprintable() for line in lines)
        assert "[2J" in "".join(line.strip() for line in lines)
