"""Kafka on one machine: the embedded broker, or Apache Kafka from its jars."""
