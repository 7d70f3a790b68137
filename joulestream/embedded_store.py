"""How SecantusDB is run, here and in the store's image: a program of its own, never an import."""

from __future__ import annotations

PROGRAM = "secantusd-py"
# Of a smaller one, batches that are written fast fill so much that each write waits for pages to be written out.
CACHE = "1G"
# The whole of its configuration, so that none that lies about is read. It looks for expired documents by reading
# every document of a collection while all else waits; we keep them for days, so once an hour is often enough.
CONFIGURATION = "[storage]\nttl_sweep_seconds = 3600\n"
