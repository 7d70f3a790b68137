"""Synthetic fleets with known truth: the same seed gives the same bytes, and every sum is known."""
