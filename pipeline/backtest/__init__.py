"""The same fold, step and policy over files, in stream time, without Kafka."""
