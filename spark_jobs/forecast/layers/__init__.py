"""The layers of a forecast that learn as they go: speed layer, blend, drift test and intervals."""
