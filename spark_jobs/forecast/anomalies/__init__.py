"""Anomalies of a series: the rules, the watch of one series, its alerts, and how well they find what is there."""
