"""ClickHouse over HTTP: address, credentials, version, schema, clock."""

import time

import msgspec
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import Error

from consumers.clickhouse.connect import ClickHouseConfig, address, connect
from consumers.clickhouse.refused import ACCESS_DENIED, LOGIN_CODES
from consumers.clickhouse.schema.drift import UNRECORDED
from consumers.clickhouse.schema.migrate import Migrator
from consumers.clickhouse.schema.migration import MigrationError, shipped
from pipeline.doctor.disk import judged
from pipeline.doctor.finding import ANSWER_SECONDS, Finding, Hung, clock_finding, connect_trouble, ok, problem, warning

TESTED_MAJOR = 25  # the releases of this year and later: what the schema is known to run on


def check_clickhouse(server: ClickHouseConfig, max_skew_seconds: float) -> list[Finding]:
    """All findings. Raises ConfigError when the URL or the password's file cannot be used."""
    _, host, port = address(server)
    client: Client | None = None
    if trouble := connect_trouble(host, port):
        advice = "start ClickHouse, or correct --clickhouse-url (clickhouse.url)"
        return [problem("clickhouse address", f"{server.url}: {trouble}", advice)]
    try:
        client = connect(server, timeout_seconds=round(ANSWER_SECONDS))
        return [ok("clickhouse address", f"{server.url} answers"), *inside(client, server, max_skew_seconds)]
    except Error as error:
        return [refused(server, error)]
    finally:
        if client is not None:
            client.close()


def refused(server: ClickHouseConfig, error: Error) -> Finding:
    """What an error from the server means."""
    code = getattr(error, "code", None)
    if code in LOGIN_CODES:
        advice = "check clickhouse.user and its password (clickhouse.password_file, or the environment)"
        return problem("clickhouse login", f"user {server.user!r} or its password is refused", advice)
    if code == ACCESS_DENIED:
        advice = f"grant SELECT, INSERT, CREATE and ALTER on {server.database}.*"
        return problem("clickhouse permissions", f"user {server.user!r} may not: {first_line(error)}", advice)
    if any(word in str(error) for word in ("timed out", "timeout")):
        return problem("clickhouse address", f"{server.url} {Hung()}", Hung.advice)
    words = f"{server.url} does not answer as ClickHouse does: {first_line(error)}"
    return problem("clickhouse address", words, "check the port: the HTTP interface is meant (8123, or 8443 with TLS)")


def first_line(error: Exception) -> str:
    """ClickHouse's errors run on; the first line says it."""
    return str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__


def inside(client: Client, server: ClickHouseConfig, max_skew_seconds: float) -> list[Finding]:
    """What can be seen once the door is open."""
    findings = [ok("clickhouse login", f"accepted as {server.user}"), version_finding(client.server_version)]
    findings.append(schema_finding(client, server))
    findings += disk_findings(client)
    asked = time.time()
    there_seconds = float(client.command("SELECT toFloat64(now64(6))"))
    answered = time.time()
    # Their clock was read between our two readings: only what lies outside of these is skew.
    skew = there_seconds - (asked if there_seconds < asked else min(there_seconds, answered))
    return [*findings, clock_finding("clickhouse clock", skew, max_skew_seconds, "asked now")]


def disk_findings(client: Client) -> list[Finding]:
    """The server's disks that are full or read-only; none where this account may not ask."""
    try:
        rows = client.query("SELECT name, path, free_space, is_read_only FROM system.disks").result_rows
    except Error:
        return []
    found = [judged(f"{name} ({path})", free, bool(read_only)) for name, path, free, read_only in rows]
    return [msgspec.structs.replace(each, check="clickhouse disk") for each in found if each.level != "ok"]


def version_finding(version: str) -> Finding:
    """Whether this release is one that the schema is known to run on."""
    major = version.split(".")[0]
    if not major.isdecimal() or int(major) < TESTED_MAJOR:
        advice = f"use ClickHouse {TESTED_MAJOR} or later"
        return warning("clickhouse version", f"{version}: older than any that Andon is tested with", advice)
    return ok("clickhouse version", version)


def schema_finding(client: Client, server: ClickHouseConfig) -> Finding:
    """Whether the schema is this version's, and every table and view as its migrations made it."""
    check, database = "clickhouse schema", server.database
    migrator = Migrator(client, database, server.cluster)
    try:
        pending = migrator.pending(shipped())
    except MigrationError as error:
        return problem(check, str(error), "this database was not made by this version: see `andon migrate --status`")
    try:
        drift = migrator.drift(shipped())
    except Error as error:  # of the cluster, of another server: this one answers
        return uncompared(check, server, error)
    if drift:
        return problem(check, f"database {database} is not what its migrations made: {drift.words}", drift.advice)
    if pending:
        names = ", ".join(f"{migration.number:04d}_{migration.name}" for migration, _ in pending)
        return problem(check, f"database {database} lacks migrations {names}", "`andon migrate` applies them")
    if drift.unrecorded:
        return warning(check, f"database {database}: {UNRECORDED}", "`andon migrate` records what they are now")
    unseen = f", but for {len(drift.hidden)} feeds, which this account may not see" if drift.hidden else ""
    return ok(check, f"database {database} has every migration, and every table and view is as they made it{unseen}")


def uncompared(check: str, server: ClickHouseConfig, error: Error) -> Finding:
    """Why tables and views cannot be compared with what they were."""
    advice = f"every server of clickhouse.cluster = {server.cluster!r} must be known and answer"
    if getattr(error, "code", None) == ACCESS_DENIED:
        right = "REMOTE on *.*" if "REMOTE" in str(error) else f"SELECT on {server.database}.*"
        advice = f"grant {right} to user {server.user!r}"
    elif not server.cluster:
        advice = "see the server's log"
    return problem(check, f"not compared: {first_line(error)}", advice)
