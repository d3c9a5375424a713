"""What `andon up` tells a person once the line is ready: where everything is, as commands to copy."""

import shlex

from pipeline.local.stack import StackInfo


def guide(info: StackInfo, stages: set[str]) -> str:
    """Plain text, one entry per thing that runs."""
    lines = ["", f"The line is ready ({', '.join(info.stages)}). Kafka: {info.bootstrap_servers}", ""]
    if "collect" in stages:
        lines += ["  send events     " + _curl_gateway(info)]
    lines += [f"  or by Kafka     kcat -P -b {info.bootstrap_servers} -t fleet.events -l events.ndjson"]
    lines += [f"  watch halts     kcat -C -b {info.bootstrap_servers} -t fleet.halts -o beginning -f '%k %s\\n'"]
    if "clickhouse" in stages:
        lines += ["  ask ClickHouse  " + _curl_clickhouse(info)]
    if "correlate" in stages:
        lines += [f"  detector state  {info.correlate_url}/state"]
    where = f" --data-dir {shlex.quote(info.data_dir)}"
    return "\n".join([*lines, f"  see it live     andon status{where}", "  stop            Ctrl-C", ""])


def _curl_gateway(info: StackInfo) -> str:
    token = f'"Authorization: Bearer $(cat {shlex.quote(info.gateway_token_file)})"'
    kind = "'Content-Type: application/x-ndjson'"
    return f"curl -H {token} -H {kind} --data-binary @events.ndjson {info.gateway_url}/v1/events"


def _curl_clickhouse(info: StackInfo) -> str:
    password = shlex.quote(info.clickhouse_reader_password_file)
    query = "SHOW TABLES FROM andon"
    return f'curl -u "{info.clickhouse_reader}:$(cat {password})" {info.clickhouse_url}/ --data-binary {query!r}'
