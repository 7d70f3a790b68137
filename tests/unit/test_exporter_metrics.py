"""Names, labels, counters and the reference page: what can be said without a store."""

from __future__ import annotations

import re
import shutil
import subprocess
from datetime import datetime, timedelta, timezone
from math import inf, nan

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse

from joulestream.exporter.exposition import page
from joulestream.exporter.growth import Growth
from joulestream.exporter.metrics import METRICS, Kind
from joulestream.exporter.names import Names
from joulestream.exporter.reference import PAGE
from joulestream.exporter.reference import page as reference_page
from joulestream.exporter.samples import Buckets, Samples, age_s

NOW = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)


def one_of_each() -> Samples:
    """A value of every metric there is."""
    out = Samples()
    for name, metric in METRICS.items():
        value = Buckets((1.0, 2.0), (1, 3), 4, 9.5) if metric.kind is Kind.HISTOGRAM else 1.5
        out.add(
            name.removeprefix("joulestream_"), value, **{label: f'a"{label}\\\n' for label in metric.labels}
        )
    return out


def test_the_reference_page_is_what_the_code_says() -> None:
    assert PAGE.read_text() == reference_page(), "run python -m joulestream.exporter.reference"


@pytest.mark.parametrize("metric", METRICS.values(), ids=lambda metric: metric.name)
def test_a_name_follows_the_conventions_of_prometheus(metric: object) -> None:
    name, kind, text = metric.name, metric.kind, metric.help  # type: ignore[attr-defined]
    assert re.fullmatch(r"joulestream_[a-z0-9]+(_[a-z0-9]+)*", name)
    assert name.endswith("_total") == (kind is Kind.COUNTER)
    assert not re.search(r"kwh|_kg|_ms|_percent|minutes|hours", name)
    for unit, sign in (("seconds", "(s)"), ("joules", "(J)"), ("watts", "(W)"), ("grams", "(g CO2e)")):
        assert f"_{unit}" not in name or sign in text, f"the help of {name} lacks its unit {sign}"


def test_no_metric_is_labelled_with_a_run_unless_it_is_one_of_a_run() -> None:
    labelled = {name for name, metric in METRICS.items() if "run" in metric.labels}
    assert labelled
    assert all(name.startswith("joulestream_run_") for name in labelled)


def test_the_page_can_be_read_back_in_both_formats() -> None:
    samples = one_of_each().found
    plain = parse(page(samples, "")[0].decode())
    open_body, open_type = page(samples, "application/openmetrics-text; version=1.0.0")
    opened = parse_openmetrics(open_body.decode())
    assert "openmetrics" in open_type
    for families in (plain, opened):
        found = {sample.name: sample for family in families for sample in family.samples}
        assert {name for name in METRICS if name not in found} == {"joulestream_query_batch_duration_seconds"}
        assert found["joulestream_query_batch_duration_seconds_count"].value == 4
        assert found["joulestream_query_up"].labels == {"query": 'a"query\\\n'}


def test_promtool_finds_nothing_wrong_with_the_page() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian: apt-get install prometheus)")
    body = page(one_of_each().found, "")[0]
    done = subprocess.run([promtool, "check", "metrics"], input=body, capture_output=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")


def test_what_is_not_known_is_absent_and_zero_is_not() -> None:
    out = Samples()
    for value in (None, nan, inf):
        out.add("store_up", value)
    out.add("kafka_up", 0)
    assert [sample.metric for sample in out.found] == ["joulestream_kafka_up"]


def test_other_labels_than_declared_are_an_error() -> None:
    with pytest.raises(ValueError, match="query"):
        Samples().add("query_up", 1.0, topic="t")


def test_a_label_is_cut_to_a_bounded_length() -> None:
    out = Samples()
    out.add("user_energy_joules_total", 1.0, user="x" * 5000)
    assert len(out.found[0].labels[0]) == 200


@pytest.mark.parametrize(
    ("then", "age"), [(NOW - timedelta(seconds=9), 9.0), (NOW + timedelta(seconds=9), 0.0), (None, None)]
)
def test_an_age_is_not_below_zero_and_absent_without_a_time(then: object, age: float | None) -> None:
    assert age_s(then, NOW) == age


def test_the_largest_names_get_labels_and_keep_them() -> None:
    names = Names(2)
    names.admit({"small": 1.0, "large": 9.0, "middle": 5.0})
    assert [names.label(name) for name in ("large", "middle", "small")] == ["large", "middle", "other"]
    names.admit({"small": 100.0, "large": 9.0})
    assert names.label("small") == "other"
    assert [names.label(name) for name in (None, "")] == ["unknown", "unknown"]


def test_growth_begins_at_the_first_look_and_never_falls() -> None:
    growth = Growth()
    assert growth.of("a", 5.0) == 0.0
    growth.begin()
    assert growth.of("a", 7.0) == 2.0
    assert growth.of("a", 3.0) == 0.0
    assert growth.of("a", 8.0) == 1.0
    assert growth.of("new", 4.0) == 4.0
    growth.keep(["a"])
    assert growth.of("new", 4.0) == 4.0
