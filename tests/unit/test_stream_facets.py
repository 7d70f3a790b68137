"""Facets of a run: the same whatever the order, the split into batches and the repetition."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import bson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.parse import parse_training
from schemas.times import EARLIEST, from_ms, to_ms
from spark_jobs.facets import RunFacets, facets_of, fields_of_facets, merge
from tests.messages import AT, AT_TEXT, RECORDED_AT, training

docs = st.fixed_dictionaries(
    {
        "timestamp": st.integers(0, 5).map(lambda s: AT + timedelta(seconds=s)),
        "event_type": st.sampled_from(["metric", "metric", "run_started", "run_finished"]),
    },
    optional={
        "status": st.sampled_from(["completed", "failed"]),
        "user_id": st.sampled_from(["u1", "u2"]),
        "hyperparameters": st.just({"lr": 0.1}) | st.just([{"k": "a.b", "v": 1}]),
        "loss": st.floats(0.5, 2),
        "accuracy": st.floats(0.5, 2),
        "interval_s": st.sampled_from([0.0, 1.0, 2.5]),
        "energy_kwh": st.floats(0, 1),
        "rank": st.integers(0, 3),
        "node_id": st.sampled_from(["n1", "n2"]),
        "meters": st.lists(st.sampled_from(["nvml", "rapl"])),
        "measurement": st.sampled_from(["measured", "estimated"]),
    },
)
events = st.lists(docs, min_size=1, max_size=8).map(
    lambda found: [(f"e|r|{i}", d) for i, d in enumerate(found)]
)


def gathered(found: list[tuple[str, dict[str, Any]]]) -> Any:
    facets = RunFacets()
    for identity, doc in found:
        facets.add(identity, doc)
    return facets.to_facets()


@given(events, st.randoms(use_true_random=False), st.integers(0, 8))
def test_order_split_and_repetition_do_not_show(found: Any, random: Any, at: int) -> None:
    shuffled = [*found, *found[:at]]
    random.shuffle(shuffled)
    parts = [gathered(shuffled[:at]), gathered(shuffled[at:]), gathered(found[:1])]
    random.shuffle(parts)
    joined = parts[0]
    for part in parts[1:]:
        joined = merge(joined, part)
    assert joined == gathered(found)
    assert fields_of_facets(joined) == fields_of_facets(gathered(found))


@given(events)
def test_fields_say_what_the_events_say(found: Any) -> None:
    fields = fields_of_facets(gathered(found))
    ordered = sorted(found, key=lambda entry: (entry[1]["timestamp"], entry[0]))
    for field, name in (
        ("user_id", "user_id"),
        ("loss", "last_loss"),
        ("hyperparameters", "hyperparameters"),
    ):
        known = [doc[field] for _, doc in ordered if field in doc]
        assert fields.get(name) == (known[-1] if known else None)
    losses = [doc["loss"] for _, doc in found if "loss" in doc]
    assert fields.get("best_loss") == (min(losses) if losses else None)
    accuracies = [doc["accuracy"] for _, doc in found if "accuracy" in doc]
    assert fields.get("best_accuracy") == (max(accuracies) if accuracies else None)
    assert fields["last_event_at"] == max(doc["timestamp"] for _, doc in found)
    begins = [doc["timestamp"] - timedelta(seconds=doc.get("interval_s", 0)) for _, doc in found]
    assert fields["started_at"] == min(begins)
    assert fields.get("ranks", []) == sorted({doc["rank"] for _, doc in found if "rank" in doc})


def status_of(*events: dict[str, Any]) -> str:
    docs = [parse_training(training(**event), RECORDED_AT).doc for event in events]
    status = fields_of_facets(gathered([(f"e|r|{i}", doc) for i, doc in enumerate(docs)]))["status"]
    assert isinstance(status, str)
    return status


LATER = (AT + timedelta(seconds=9)).isoformat()


def test_a_run_that_has_only_begun_is_running() -> None:
    assert status_of({"event_type": "run_started"}, {}) == "running"


def test_the_last_word_on_a_life_stands() -> None:
    failed = {"event_type": "run_finished", "status": "failed"}
    assert status_of(failed) == "failed"
    assert status_of(failed, {"event_type": "run_started", "timestamp": LATER}) == "running"
    assert status_of({**failed, "timestamp": LATER}, {"event_type": "run_started"}) == "failed"


def test_a_metric_after_the_end_does_not_revive_a_run() -> None:
    assert status_of({"event_type": "run_finished"}, {"timestamp": LATER}) == "completed"


@pytest.mark.parametrize("interval_s", [1e9, 1e12, 1e200, 1e308], ids=str)
def test_an_absurd_interval_can_be_stored_and_begins_no_earlier_than_times_are_accepted(
    interval_s: float,
) -> None:
    doc = parse_training(training(interval_s=interval_s, energy_kwh=1.0), RECORDED_AT).doc
    facets = facets_of("e|r|1", doc)
    assert bson.decode(bson.encode(facets)) == facets
    began = fields_of_facets(facets)["started_at"]
    assert EARLIEST <= began < AT


def test_a_reported_start_may_be_before_the_first_event() -> None:
    started = AT - timedelta(hours=1)
    value = training(event_type="run_summary", start_timestamp=started.isoformat(), timestamp=AT_TEXT)
    fields = fields_of_facets(facets_of("h|1", parse_training(value, RECORDED_AT).doc))
    assert fields["started_at"] == started
    assert fields["duration_s"] == 3600.0


def test_times_go_through_milliseconds_unchanged() -> None:
    at = datetime(2024, 3, 1, 12, 0, 0, 250_000, timezone.utc)
    assert from_ms(to_ms(at)) == at
