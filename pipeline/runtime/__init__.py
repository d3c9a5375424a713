"""What every stage shares: configuration, Kafka client settings, metrics, logging, lifecycle, errors."""
