"""Collections: names, ids that cannot collide, and lives that end where they should."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conf.settings import load_settings
from schemas import documents
from schemas.documents import (
    COLLECTIONS,
    DIMENSIONS,
    Index,
    coordinates_id,
    node_window_id,
    window_id,
)
from tests.messages import AT
from tests.strategies import ids

keys = st.none() | st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=20)
starts = st.integers(0, 10**6).map(lambda n: datetime(2024, 1, 1, tzinfo=timezone.utc) + timedelta(seconds=n))
window_keys = st.tuples(st.sampled_from(DIMENSIONS), keys, starts)

EXPIRING = [collection for collection in COLLECTIONS if collection.retention_setting]


def by_name(name: str) -> documents.Collection:
    return next(collection for collection in COLLECTIONS if collection.name == name)


@given(window_keys, window_keys)
def test_two_windows_have_one_id_only_where_they_are_one_window(
    one: tuple[str, str | None, datetime], other: tuple[str, str | None, datetime]
) -> None:
    assert (window_id(*one) == window_id(*other)) == (one == other)


@given(st.tuples(ids, starts), st.tuples(ids, starts))
def test_two_node_windows_have_one_id_only_where_they_are_one(
    one: tuple[str, datetime], other: tuple[str, datetime]
) -> None:
    assert (node_window_id(*one) == node_window_id(*other)) == (one == other)


def test_ids_read_as_the_contract_writes_them() -> None:
    assert window_id("user", "alice", AT) == "user|alice|2024-03-01T12:00:00Z"
    assert window_id("region", None, AT) == "region||2024-03-01T12:00:00Z"
    assert node_window_id("n1", AT) == "n1|2024-03-01T12:00:00Z"
    assert coordinates_id("training.events", 2, 77) == "training.events/2/77"


def test_collections_have_unique_names_and_say_their_id_and_content() -> None:
    names = [collection.name for collection in COLLECTIONS]
    assert len(set(names)) == len(names)
    assert all(collection.id_rule and collection.content for collection in COLLECTIONS)
    index_names = [(c.name, index.name) for c in COLLECTIONS for index in c.indexes]
    assert len(set(index_names)) == len(index_names)


@pytest.mark.parametrize("collection", EXPIRING, ids=lambda c: c.name)
def test_a_retention_setting_exists_and_has_a_date_to_count_from(collection: documents.Collection) -> None:
    section, _, key = str(collection.retention_setting).partition(".")
    assert key in type(getattr(load_settings(), section)).model_fields
    assert collection.expires_on


def test_collections_that_only_grow_can_be_made_to_expire() -> None:
    growing = {
        documents.TRAINING_METRICS,
        documents.NODE_METRICS,
        documents.WINDOWS,
        documents.NODE_WINDOWS,
        documents.REJECTED,
        documents.PROGRESS,
    }
    assert growing <= {collection.name for collection in EXPIRING}


@pytest.mark.parametrize(
    ("name", "reference"), [("training_metrics", "run_ref"), ("node_metrics", "node_ref")]
)
def test_a_ledger_has_a_validator_and_one_sparse_index_only(name: str, reference: str) -> None:
    ledger = by_name(name)
    assert ledger.validator is not None
    assert ledger.indexes == (Index(((reference, 1),), sparse=True),)


def test_an_index_is_named_as_mongodb_names_it() -> None:
    assert Index((("user_id", 1), ("last_event_at", -1))).name == "user_id_1_last_event_at_-1"
