"""Carbon intensity of a node: that of its region, which its samples name. A node's windows hold neither."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from schemas.carbon import Intensity, intensity, table
from schemas.identity import identity_ranges

FindSample: TypeAlias = "Callable[[dict[str, Any]], Mapping[str, Any] | None]"


def region_of_node(
    node_id: str, find_sample: FindSample, own_regions: Mapping[str, str | None]
) -> str | None:
    """The region that `own_regions` (by node) has for it, else the one that a stored sample of the node names.

    `own_regions` are what the settings say, of this machine's own node: its agent sends the same. `find_sample` reads
    one document of `node_metrics` that meets a query; None where there is none.
    """
    own = own_regions.get(node_id)
    if own:
        return own
    # By the beginning of their identity, for which no other index is needed; those with a hash for one by `node_ref`.
    ranges: list[dict[str, Any]] = [{"_id": {"$gte": a, "$lt": b}} for a, b in identity_ranges(node_id)]
    for query in (*ranges, {"node_ref": node_id}):
        sample = find_sample(query)
        if sample is not None and sample.get("region_iso"):
            return str(sample["region_iso"])
    return None


def intensity_of_node(region: str | None) -> Intensity | str:
    """The intensity of a node's region, or in words why it is not known: here the world average is no answer."""
    if region is None:
        return "the node names no region"
    found = intensity(region)
    if found.zone == table()["fallback"]["name"]:
        return f"no intensity is known for region {region[:40]!r}"
    return found
