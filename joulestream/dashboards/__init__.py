"""Grafana's dashboards and the PrometheusRule manifest, written from one source each.

`python -m joulestream.dashboards.generate` writes them to `k8s/overlays/monitoring`; a test compares.
"""
