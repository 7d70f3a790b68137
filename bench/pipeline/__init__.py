"""Rows a second of each step from the broker to the store, latency under a steady load, memory."""
