"""Harmless rollouts that hurt, and how often evidence against them gets how far."""
