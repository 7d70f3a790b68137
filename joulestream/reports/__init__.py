"""Reports: sums over stored documents of a range of time."""
