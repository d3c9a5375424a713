"""Seeded fleets, scenario files and replay: pure simulation, with Kafka and files at its edge."""
