"""How SecantusDB is run, here and in the store's image: a program of its own, never an import."""

from __future__ import annotations

PROGRAM = "secantusd-py"
# Of a smaller one, batches that are written fast fill so much that each write waits for pages to be written out.
CACHE = "1G"
