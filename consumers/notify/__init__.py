"""Halts and resumes, told to Alertmanager as they happen."""
