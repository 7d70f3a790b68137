"""Intensities of nodes, for a report or a page, found in bounded time."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from dashboard.store.reader import Reader, ReadTooSlow, StoreAway
from schemas.carbon import Intensity
from schemas.documents import NODE_METRICS
from schemas.node_intensity import intensity_of_node, region_of_node

# The embedded document server reads all samples of a node to give one of them.
LOOK_S = 10.0
TOO_SLOW = (
    "its region takes too long to find among its samples; set node.region_iso where this machine is the node"
)


class NodeFactors:
    """Looks for regions for at most `look_s` in all; then it says that it does not."""

    def __init__(
        self,
        reader: Reader,
        own_regions: Mapping[str, str | None],
        clock: Callable[[], float] = time.monotonic,
        look_s: float = LOOK_S,
    ) -> None:
        self._reader = reader
        self._own_regions = own_regions
        self._clock = clock
        self._left_s = look_s

    def of(self, node_id: str | None) -> Intensity | str:
        """The intensity of a node, or in words why it is not known."""
        if node_id is None:
            return intensity_of_node(None)
        began = self._clock()
        try:
            region = region_of_node(node_id, self._sample, self._own_regions)
        except (ReadTooSlow, StoreAway):
            # No answer in time to this read; if the store is away, the caller's next read says so.
            self._left_s = 0.0
            return TOO_SLOW
        except TimeoutError:
            return TOO_SLOW
        self._left_s -= self._clock() - began
        return intensity_of_node(region)

    def _sample(self, query: dict[str, Any]) -> dict[str, Any] | None:
        if self._left_s <= 0:
            raise TimeoutError
        found = self._reader.find(NODE_METRICS, query, ["region_iso"], limit=1, budget_s=self._left_s)
        return next(iter(found), None)
