"""The dashboards, each for one question."""
