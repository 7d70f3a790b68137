"""Finding the newest of a collection that grows without end, on a server that sorts all that a query leaves.

The embedded document server reads everything that a query leaves before it limits, even where an index has the
order; so a read of the newest asks for the last minutes first, and for more only where they hold too little.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

SPANS = (timedelta(minutes=5), timedelta(hours=1), timedelta(days=1), timedelta(days=30))


def looks_back(now: datetime, field: str) -> Iterator[Mapping[str, Any]]:
    """Conditions on a time, from the last minutes to no condition at all."""
    for span in SPANS:
        yield {field: {"$gte": now - span}}
    yield {}
