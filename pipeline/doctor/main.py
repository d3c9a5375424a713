"""`andon doctor`: reach every server that Andon is configured for, and say in plain words what is wrong."""

from collections import Counter
from pathlib import Path

import click
import msgspec
from click.core import ParameterSource
from rich.table import Table
from rich.text import Text

from consumers.clickhouse.connect import ClickHouseConfig
from pipeline.doctor.finding import Finding
from pipeline.doctor.targets import RENAMED, STAGES, DoctorConfig, targets
from pipeline.halt.trust import TrustConfig
from pipeline.local import datadir, stack
from pipeline.runtime.config import configured
from pipeline.runtime.console import say_json, stdout_console
from pipeline.runtime.kafka import KafkaConfig, check
from pipeline.runtime.logging import printable

LEVEL_COLUMNS = 14
WIDE_COLUMNS = 120  # of a screen on which checks are a column of their own
STYLES = {"ok": "green", "warning": "yellow", "problem": "red"}  # the others: dim


class RoleChoice(click.Choice[str]):
    """A role, by an older name, too."""

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Its name of now."""
        return super().convert(RENAMED.get(value, value), param, ctx)


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="One JSON object: ok, and every finding.")
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    default=datadir.DEFAULT,
    envvar="ANDON_DATA_DIR",
    show_default=True,
    help="Of the local line; while it runs, addresses that are not configured are taken from it.",
)
@click.option(
    "--as",
    "stage",
    type=RoleChoice(STAGES),
    help="Whether the Kafka account may do what this role needs (deploy/acls.toml) [default: which it may have].",
)
@configured(
    ("doctor", DoctorConfig),
    ("kafka", KafkaConfig),
    ("clickhouse", ClickHouseConfig),
    ("trust", TrustConfig),
    unused=("timeout_seconds",),
)
def command(
    as_json: bool,
    data_dir: Path,
    stage: str | None,
    doctor: DoctorConfig,
    kafka: KafkaConfig,
    clickhouse: ClickHouseConfig,
    trust: TrustConfig,
) -> None:
    """Check every server that Andon is configured for. Exit code 0: all well; 1: problems; 2: bad configuration."""
    # Here, not above: whoever asks for help does not wait for what the command needs.
    from pipeline.doctor.examine import examine

    check(kafka)
    source = click.get_current_context().get_parameter_source("bootstrap_servers")
    local = stack.meant(data_dir.absolute(), kafka, source is ParameterSource.COMMANDLINE)
    found = targets(doctor, kafka, clickhouse, stack.running(data_dir.absolute()) if local else None)
    trust = trust if trust.keys_dir else found.trust
    place = str(data_dir.absolute()) if local and data_dir.exists() else ""
    findings = examine(msgspec.structs.replace(found, stage=stage, trust=trust, data_dir=place))
    healthy = all(finding.level != "problem" for finding in findings)
    if as_json:
        say_json({"ok": healthy, "findings": findings})
    else:
        show(findings)
    if not healthy:
        raise SystemExit(1)


def show(findings: list[Finding]) -> None:
    """For people: one line a finding, advice below what needs it; on a narrow screen folded under the level."""
    shown = stdout_console()
    is_narrow = shown.width < WIDE_COLUMNS
    width = max(len(finding.check) for finding in findings)
    for finding in findings:
        words = finding.advice if finding.level == "not configured" else finding.words
        advice = finding.advice if finding.level in ("warning", "problem") else ""
        level = Text(f"{finding.level:{LEVEL_COLUMNS}}", style=STYLES.get(finding.level, "dim"))
        if is_narrow:
            told = Text(f"{finding.check}: {printable(words)}" + (f"\n→ {printable(advice)}" if advice else ""))
            row = Table.grid(padding=(0, 2, 0, 0))
            row.add_row(level, told)
            shown.print(row)
            continue
        shown.print(Text.assemble(level, f"  {finding.check:{width}}  {printable(words)}"), soft_wrap=True)
        if advice:
            shown.print(Text(f"{'':{LEVEL_COLUMNS}}  {'':{width}}  → {printable(advice)}"), soft_wrap=True)
    count = Counter(finding.level for finding in findings)
    bad = [
        f"{count[level]} {level}{'' if count[level] == 1 else 's'}" for level in ("problem", "warning") if count[level]
    ]
    left = f"; {count['not checked']} not checked" if count["not checked"] else ""
    shown.print((", ".join(bad) or "all well") + left)
