"""Dashboards without a Grafana server: their queries expanded as Grafana does it, and pictures of what they answer."""
