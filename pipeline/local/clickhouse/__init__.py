"""The embedded ClickHouse engine, its accounts, and ClickHouse's HTTP protocol in front of it."""
