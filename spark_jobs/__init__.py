"""The mathematics: streaming queries, transforms, and the exact books that they keep."""
