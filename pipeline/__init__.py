"""Andon's pipeline; events pass through: collect, combine, correlate, decide, halt."""

__version__ = "0.1.0"
