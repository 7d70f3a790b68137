"""The intensity of a node: by the region of the settings, then of a sample; never by the world average."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from schemas.carbon import intensity
from schemas.node_intensity import intensity_of_node, region_of_node

BY_EVENT_ID = {"_id": {"$gte": "e|n|", "$lt": "e|n}"}}
BY_SEQUENCE = {"_id": {"$gte": "s|n|", "$lt": "s|n}"}}
BY_HASH = {"node_ref": "n"}


@pytest.mark.parametrize("place", [BY_EVENT_ID, BY_SEQUENCE, BY_HASH])
def test_a_sample_of_any_identity_names_the_region(place: dict[str, Any]) -> None:
    def find_sample(query: dict[str, Any]) -> Mapping[str, Any] | None:
        return {"region_iso": "FRA"} if query == place else None

    assert region_of_node("n", find_sample, {"n": None, "other": "DEU"}) == "FRA"


def test_the_settings_name_the_region_of_their_own_node_only_without_a_read() -> None:
    reads: list[dict[str, Any]] = []

    def silent(query: dict[str, Any]) -> Mapping[str, Any] | None:
        reads.append(query)
        return {"region_iso": None} if query == BY_SEQUENCE else None

    assert region_of_node("n", silent, {"n": "DEU"}) == "DEU"
    assert reads == []
    assert region_of_node("n", silent, {"other": "DEU"}) is None
    assert region_of_node("n", silent, {"n": None}) is None


def test_the_intensity_is_the_countrys_and_not_the_worlds() -> None:
    assert intensity_of_node("FRA") == intensity("FRA")
    assert intensity_of_node("US-CA") == intensity("USA")
    assert intensity_of_node(None) == "the node names no region"
    assert intensity_of_node("Atlantis\x1b[2J") == "no intensity is known for region 'Atlantis\\x1b[2J'"
