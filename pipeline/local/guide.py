"""What a person is told once the line is ready, and at the end of the demo: where everything is, to be copied."""

import shlex
import shutil
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

from pipeline.local.machine.files import write_private
from pipeline.local.observed import targets
from pipeline.local.stack import STACK_FILE, StackInfo

HALTS = "SELECT fleet, vendor, product, version, rings, crashed_hosts, reason FROM andon.halts FORMAT Vertical"
QUERIES = ("rates", "top-signatures", "time-to-halt")  # of docs/analysts.md; each asks for a fleet and nothing else
OPEN = "the embedded broker asks nobody who they are: every user of this machine can read and write its topics"
CLOSED = "use it on a single-user machine, or run `andon up --broker kafka`, which asks for a password"
COLUMNS = 79
ENV_FILE = "env"  # in the data directory
HALTS_SECTION = "Subscribe to halts in ten minutes"


def guide(info: StackInfo, stages: set[str]) -> str:
    """Where everything is and what to do next, in plain text that fits a screen."""
    lines = ["", *textwrap.wrap(f"The line is ready: {', '.join(info.stages)}", COLUMNS), ""]
    lines += [f"  Kafka       {info.bootstrap_servers}"]
    if "collect" in stages:
        lines += [f"  gateway     {info.gateway_url}/v1/events"]
    if "clickhouse" in stages:
        lines += [f"  ClickHouse  {info.clickhouse_url}"]
        if info.clickhouse_reader == info.clickhouse_user:
            lines += ["  beware      the kernel does not confine ClickHouse here: it has its owner's account alone"]
    if "correlate" in stages:
        lines += [f"  detector    {info.correlate_url}/state"]
    lines += textwrap.wrap(_metrics(info), COLUMNS, subsequent_indent=" " * 14, initial_indent="  metrics     ")
    if info.prometheus_file:
        lines += [f"  Prometheus  prometheus --config.file={shlex.quote(info.prometheus_file)}"]
    lines += [f"  log         {info.log_file}", "", "Next, in another terminal"]
    lines += [f"  . {shlex.quote(str(env_file(info)))}"]
    lines += ["      settings for these commands, and how to do without them (curl, kcat)"]
    lines += ["  andon status", "  andon doctor"]
    lines += [f"  andon replay --hosts 2000 --fleet {shlex.quote(info.fleet)}"]
    lines += ["      19 July 2024; or name another of the stories that it lists"]
    if "clickhouse" in stages:
        lines += [f"  andon query rates --param fleet={shlex.quote(info.fleet)}"]
    if not info.kafka_username:
        lines += ["", *textwrap.wrap(f"Mind: {OPEN}; {CLOSED}.", COLUMNS)]
    return "\n".join([*lines, "", "Ctrl-C stops it. Here: what goes wrong; in the log: everything.", ""])


def _metrics(info: StackInfo) -> str:
    """Which port shows whose."""
    return ", ".join(f"{stage} {port}" for stage, port in sorted(targets(info).items()))


def env_file(info: StackInfo) -> Path:
    """What a shell sources to have every command meet this line."""
    return Path(info.data_dir) / ENV_FILE


def write_env(info: StackInfo, stages: set[str]) -> None:
    """Settings for every command, and how to do without them, in a file of its owner's."""
    names = {"ANDON_DATA_DIR": info.data_dir, **_settings(info, stages)}
    where, program = shlex.quote(info.data_dir), Path(sys.executable).parent
    lines = ["# Settings of the local line, for a shell: . " + shlex.quote(str(env_file(info)))]
    lines += [f"export {name}={shlex.quote(text)}" for name, text in names.items()]
    lines += [f'command -v andon > /dev/null || export PATH={shlex.quote(str(program))}:"$PATH"']
    again = f"andon: no line runs in {info.data_dir}: start it with: andon up --data-dir {where}"
    lines += [f"[ -e {shlex.quote(str(Path(info.data_dir) / STACK_FILE))} ] || echo {shlex.quote(again)} >&2"]
    lines += ["", f"# by Kafka:        kcat -P {_login(info)} -t fleet.events -l events.ndjson"]
    if "collect" in stages:
        lines += ["# or the gateway:  " + _curl_gateway(info)]
    lines += [f"# watch halts:     kcat -C {_login(info)} -t fleet.halts -o beginning -f '%k\\t%s\\n'"]
    if "correlate" in stages:
        lines += [f"# keys of halts:   {shlex.quote(str(keys_of(info)))}/*.pub.pem"]
    if "clickhouse" in stages:
        lines += ["# ask ClickHouse:  " + _curl_clickhouse(info)]
    write_private(env_file(info), "\n".join(lines) + "\n")


def _login(info: StackInfo) -> str:
    """For kcat: the password is in a file, and on no command line."""
    return f"-F {shlex.quote(info.kafka_client_file)}" if info.kafka_client_file else f"-b {info.bootstrap_servers}"


def keys_of(info: StackInfo) -> Path:
    """Where the line's correlator keeps its signing key and the public half."""
    return Path(info.keys_dir)


def _curl_gateway(info: StackInfo) -> str:
    token = _header("Authorization: Bearer", info.gateway_token_file)
    kind = "'Content-Type: application/x-ndjson'"
    return f"{token} | curl -H @- -H {kind} --data-binary @events.ndjson {info.gateway_url}/v1/events"


def _header(name: str, file: str) -> str:
    """A header with a secret for curl's standard input: everybody on the machine sees the words of a command, and
    printf is no command but the shell's own."""
    return f"printf '{name} %s\\n' \"$(cat {shlex.quote(file)})\""


def _curl_clickhouse(info: StackInfo, query: str = "SHOW TABLES FROM andon") -> str:
    key = _header("X-ClickHouse-Key:", info.clickhouse_reader_password_file)
    user = f"-H 'X-ClickHouse-User: {info.clickhouse_reader}'"
    return f"{key} | curl -H @- {user} {info.clickhouse_url}/ --data-binary {shlex.quote(query)}"


def after_demo(info: StackInfo, keys: Path, scenarios: Sequence[str], *, keep: bool, kept: bool) -> str:
    """Where to look next. `keep`: the line stays up; `kept`: what it stored stays in the directory that was named."""
    where, andon = shlex.quote(info.data_dir), _andon()
    source = [f"  in a shell      . {shlex.quote(str(env_file(info)))}"]
    queries = [f"                  andon query {name} --param fleet={shlex.quote(info.fleet)}" for name in QUERIES]
    if keep:
        lines = [
            *source,
            "                  andon status",
            *queries,
            f"                  andon replay --obey {shlex.quote(str(keys))}",
            "  without andon   " + _curl_clickhouse(info, HALTS),
            f"                  kcat -C -e {_login(info)} -t fleet.halts -o beginning",
            f"  detector state  {info.correlate_url}/state",
        ]
    elif kept:
        up = f"  the line again  {andon} up --data-dir {where}    with all that it stored; then"
        lines = [up, *source, "                  andon status", *queries]
    else:
        lines = [
            f"  a line to ask   {andon} demo --keep    the same, and it stays up; or, without a story,",
            f"                  {andon} up    it says how to ask it",
        ]
    return "\n".join(["", "Where to look next", *lines, *_reading(andon, scenarios)])


def _andon() -> str:
    """How the command is called from where we are: what is not on the path is named by its place."""
    program = Path(sys.executable).with_name("andon")
    if (found := shutil.which("andon")) and Path(found).samefile(program):
        return "andon"
    here = Path.cwd()
    return shlex.quote(str(program.relative_to(here) if program.is_relative_to(here) else program))


def _settings(info: StackInfo, stages: set[str]) -> dict[str, str]:
    """For commands that know nothing of local lines: Kafka, keys of halts, and ClickHouse as who may only read."""
    names = {"ANDON_KAFKA_BOOTSTRAP_SERVERS": info.bootstrap_servers}
    if info.kafka_username:
        names |= {
            "ANDON_KAFKA_SECURITY_PROTOCOL": info.kafka.security_protocol,
            "ANDON_KAFKA_SASL_USERNAME": info.kafka_username,
            "ANDON_KAFKA_SASL_PASSWORD_FILE": info.kafka_password_file,
        }
    if "correlate" in stages:
        names |= {"ANDON_TRUST_KEYS_DIR": info.keys_dir}
    if "clickhouse" in stages:
        names |= {
            "ANDON_CLICKHOUSE_URL": info.clickhouse_url,
            "ANDON_CLICKHOUSE_USER": info.clickhouse_reader,
            "ANDON_CLICKHOUSE_PASSWORD_FILE": info.clickhouse_reader_password_file,
        }
    return names


def _reading(andon: str, scenarios: Sequence[str]) -> list[str]:
    return [
        "  pages           docs/analysts.md    every query, and how sure its numbers are",
        f'                  README.md           "{HALTS_SECTION}"',
        f"  other stories   {andon} demo --scenario NAME    {', '.join(scenarios)}",
        f"  your cluster    {andon} replay --help",
    ]
