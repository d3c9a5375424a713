"""Nights of a small fleet whose telemetry is half-blind."""
