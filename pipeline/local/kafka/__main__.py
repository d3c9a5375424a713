"""`python -m pipeline.local.kafka` fetches Apache Kafka, once, and prints where its jars are."""

from pipeline.local.kafka.classes import prepared_jars

print(prepared_jars(print).jars)
