"""What the tests stand on: databases that are made without their migrations."""

from support.engines import Database, Databases

from consumers.clickhouse.connect import connect
from consumers.clickhouse.schema.drift import Drift
from consumers.clickhouse.schema.migrate import Migrator
from consumers.clickhouse.schema.migration import shipped


def test_a_database_is_as_its_migrations_would_make_it(database: Database) -> None:
    """`andon migrate` finds nothing to do and nothing that differs."""
    migrator = Migrator(connect(database.server), database.name)
    assert migrator.up(shipped()) == []
    assert migrator.drift(shipped()) == Drift([], [])


def test_databases_know_nothing_of_each_other(databases: Databases, database: Database) -> None:
    """What is stored in one is in no other of the same name's, and goes with it."""
    with databases.new(database.name) as other:
        other.client().insert("events", [["acme", "h"]], column_names=["fleet", "host"])
        assert other.client().command("SELECT count() FROM hosts") == 1
        assert database.client().command("SELECT count() FROM hosts") == 0
    assert not database.client().command(f"SELECT count() FROM system.databases WHERE name = '{other.name}'")
