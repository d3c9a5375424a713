"""What would have been halted? Files of events through the very same fold, step and policy, without Kafka."""
