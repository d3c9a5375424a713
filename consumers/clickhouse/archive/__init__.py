"""`andon archive`: Kafka into ClickHouse, every event once."""
