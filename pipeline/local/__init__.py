"""The line on one machine: embedded broker, ClickHouse engine and its HTTP endpoint, supervisor."""
