"""`joule report` from a real store: sums of windows by user, model, run, node, pod and region."""

from __future__ import annotations

import csv
import io
import json
from datetime import timedelta

import pytest

from schemas import documents
from schemas.carbon import intensity
from schemas.documents import window_id
from tests.contract.verbs import AT, joule, run_doc


def window(dimension, key, minute, kwh=None, **fields):
    """A stored window as the stream writes it."""
    start = AT + timedelta(minutes=minute)
    doc = {
        "_id": window_id(dimension, key, start),
        "dimension": dimension,
        "key": key,
        "window_start": start,
        "window_end": start + timedelta(minutes=1),
        "n_events": 1,
        **fields,
    }
    if kwh is not None:
        doc |= {
            "energy_kwh": kwh,
            "emissions_kg": kwh * 0.4,
            "covered_s": 60.0,
            "mean_power_w": kwh * 60_000.0,
        }
    return doc


def test_report_sums_windows_of_the_range_and_totals_are_the_sum(db):
    db[documents.WINDOWS].insert_many(
        [
            *(window("user", "ada", minute, 0.1) for minute in range(10)),
            window("user", None, 3, 0.5),
            window("user", "eve", 4),
            *(window("run", run, 3, 0.3) for run in ("r1", "r2")),
            window("run", "r3", 99, 9.0),
        ]
    )
    db[documents.RUN_SUMMARY].insert_many(
        [
            run_doc("r1", user_id="ada", carbon_intensity_source="table"),
            run_doc("r2", carbon_intensity_source="client"),
            run_doc("r3", user_id="ada", carbon_intensity_source="other"),
        ]
    )
    span = ("--from", "2026-03-01T12:02:30Z", "--to", "2026-03-01T12:04:10Z")
    found = json.loads(joule("report", "--by", "user", *span, "--json").stdout)
    assert (found["from"], found["to"]) == ("2026-03-01T12:02:00Z", "2026-03-01T12:05:00Z")
    rows = {row["key"]: row for row in found["rows"]}
    assert rows["ada"]["energy_kwh"] == pytest.approx(0.3)
    assert rows["ada"]["mean_power_w"] == pytest.approx(6000.0)
    assert rows["ada"]["n_runs"] == 1
    assert rows["ada"]["carbon_intensity_sources"] == ["table"]
    assert rows[None]["energy_kwh"] == pytest.approx(0.5)
    assert rows["eve"]["energy_kwh"] is None
    assert found["total"]["energy_kwh"] == pytest.approx(0.8)
    assert found["total"]["emissions_kg"] == pytest.approx(0.32)
    assert found["total"]["n_runs"] == 2
    whole = json.loads(joule("report", "--by", "run", "--format", "json").stdout)
    assert whole["total"]["energy_kwh"] == pytest.approx(9.6)
    table = joule("report", "--by", "user").stdout
    assert "(not known)" in table
    assert "total" in table
    lines = list(csv.DictReader(io.StringIO(joule("report", "--format", "csv").stdout)))
    assert lines[-1]["line"] == "total"


def test_report_of_nodes_keeps_the_split(db):
    start = AT
    db[documents.NODE_WINDOWS].insert_one(
        {
            "_id": "n1|x",
            "node_id": "n1",
            "window_start": start,
            "window_end": start + timedelta(minutes=1),
            "n_samples": 60,
            "covered_s": 60.0,
            "mean_power_w": 120.0,
            "energy_kwh": 0.002,
            "attributed_kwh": 0.001,
            "idle_kwh": 0.0007,
            "unattributed_kwh": 0.0003,
            "attributed": [{"run_id": "r1", "energy_kwh": 0.001}],
        }
    )
    (row,) = json.loads(joule("report", "--by", "node", "--json").stdout)["rows"]
    assert (row["key"], row["n_samples"], row["n_runs"]) == ("n1", 60, 1)
    assert row["mean_power_w"] == pytest.approx(120.0)
    assert row["attributed_kwh"] + row["idle_kwh"] + row["unattributed_kwh"] == pytest.approx(0.002)


def test_report_of_nodes_has_the_co2e_of_those_whose_region_is_known(db, monkeypatch):
    monkeypatch.setenv("JOULE_NODE_NODE_ID", "own")
    monkeypatch.setenv("JOULE_NODE_REGION_ISO", "POL")
    span = {"window_start": AT, "window_end": AT + timedelta(minutes=1), "attributed": []}
    nodes = {"paris": 2.0, "own": 1.0, "nowhere": 0.5, "mars": 0.25, "silent": None}
    for node, kwh in nodes.items():
        known = {} if kwh is None else {"energy_kwh": kwh}
        db[documents.NODE_WINDOWS].insert_one({"_id": f"{node}|x", "node_id": node, **span, **known})
    for node, region in (("paris", "FRA"), ("mars", "XX"), ("silent", "FRA")):
        db[documents.NODE_METRICS].insert_one({"_id": f"s|{node}|p|1", "node_id": node, "region_iso": region})
    found = json.loads(joule("report", "--by", "node", "--json").stdout)
    rows = {row["key"]: row for row in found["rows"]}
    expected = {"paris": 2.0 * intensity("FRA").g_per_kwh / 1000, "own": intensity("POL").g_per_kwh / 1000}
    for node, region in (("paris", "FRA"), ("own", "POL")):
        assert rows[node]["emissions_kg"] == pytest.approx(expected[node], rel=1e-12)
        assert rows[node]["carbon_intensity_sources"] == [intensity(region).source]
        assert rows[node]["emissions_not_known"] == []
    for node, why in (("nowhere", "no region"), ("mars", "'XX'"), ("silent", "energy")):
        assert (rows[node]["emissions_kg"], rows[node]["carbon_intensity_sources"]) == (None, [])
        assert why in rows[node]["emissions_not_known"][0]
    assert found["total"]["emissions_kg"] == pytest.approx(sum(expected.values()), rel=1e-12)
    assert len(found["total"]["emissions_not_known"]) == 3
    table = joule("report", "--by", "node").stdout
    assert "CO2e" in table
    assert intensity("FRA").source in table
    lines = {
        row["node"]: row
        for row in csv.DictReader(io.StringIO(joule("report", "--by", "node", "--format", "csv").stdout))
    }
    assert lines["nowhere"]["emissions_kg"] == ""
    assert float(lines["own"]["emissions_kg"]) == pytest.approx(expected["own"], rel=1e-12)


def test_report_of_pods_sums_them_over_nodes_and_windows(db):
    pods = [("ml", "a", 0.002), ("ml", "b", 0.001), ("web", "a", 0.0005)]
    db[documents.NODE_WINDOWS].insert_many(
        {
            "_id": f"{node}|x",
            "node_id": node,
            "window_start": AT,
            "window_end": AT + timedelta(minutes=1),
            "pods": [
                {"namespace": namespace, "pod": pod, "energy_kwh": kwh}
                for namespace, pod, kwh in pods[: i + 2]
            ],
        }
        for i, node in enumerate(("n1", "n2"))
    )
    db[documents.NODE_WINDOWS].insert_one(
        {"_id": "n3|x", "node_id": "n3", "window_start": AT, "attributed": []}
    )
    by_pod = json.loads(joule("report", "--by", "pod", "--json").stdout)
    assert [(row["key"], row["energy_kwh"], row["n_windows"]) for row in by_pod["rows"]] == [
        ("ml/a", pytest.approx(0.004), 2),
        ("ml/b", pytest.approx(0.002), 2),
        ("web/a", pytest.approx(0.0005), 1),
    ]
    assert by_pod["total"] == {"energy_kwh": pytest.approx(0.0065), "n_windows": 5}
    by_namespace = json.loads(joule("report", "--by", "namespace", "--json").stdout)["rows"]
    assert [(row["key"], row["energy_kwh"]) for row in by_namespace] == [
        ("ml", pytest.approx(0.006)),
        ("web", pytest.approx(0.0005)),
    ]
    assert "web/a" in joule("report", "--by", "pod").stdout
    assert "kg" not in joule("report", "--by", "namespace", "--format", "csv").stdout


@pytest.mark.parametrize("by", ["user", "model", "run", "node", "namespace", "pod", "region"])
def test_report_of_nothing_is_empty_and_no_error(db, by):
    assert json.loads(joule("report", "--by", by, "--json").stdout)["rows"] == []
    joule("report", "--by", by)


def test_report_refuses_a_range_that_ends_before_it_begins(db):
    joule("report", "--from", "2026-03-02", "--to", "2026-03-01", code=2)
