"""Accounts of the endpoint of the whole run, in a test's database."""

import msgspec
from clickhouse_connect.driver.client import Client

from consumers.clickhouse.connect import connect
from support.engines import Database


def as_grafana(database: Database) -> Client:
    """The account of dashboards and of Grafana's rules."""
    endpoint = database.endpoint
    account = msgspec.structs.replace(endpoint.server, user="andon_grafana", password=endpoint.grafana_password)
    return connect(account, database=database.name)
