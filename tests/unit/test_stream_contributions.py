"""What an event adds, and what documents say of the sums: energy is conserved, missing is not zero."""

from __future__ import annotations

from math import fsum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.parse import parse_node, parse_training
from schemas.units import J_PER_KWH
from spark_jobs.contributions import NODE_SUMS, TRAINING_SUMS, node_sums, training_sums
from spark_jobs.parts import Amounts, Folded, Parts
from spark_jobs.sources import NODE, SOURCES, TRAINING, Key, document_id, parse_document_id
from spark_jobs.summaries import node_window_doc, summary_doc, window_doc
from spark_jobs.writer import _updated, touched_by
from tests.messages import RECORDED_AT, node, training

START_MS, WINDOW_MS = 1_709_294_400_000, 60_000


def training_of(**fields: Any) -> dict[str, float]:
    return training_sums(parse_training(training(**fields), RECORDED_AT).doc)


def node_of(**fields: Any) -> tuple[dict[str, float], dict[str, float]]:
    return node_sums(parse_node(node(**fields), RECORDED_AT).doc)


def window_of(*found: dict[str, float], dimension: str = "run") -> dict[str, Any]:
    live = sum((Amounts(sums) for sums in found), Amounts())
    return window_doc(Key(dimension, "k"), START_MS, WINDOW_MS, Parts(live=live))


def node_window_of(*found: tuple[dict[str, float], dict[str, float]]) -> dict[str, Any]:
    live = sum((Amounts(sums, runs) for sums, runs in found), Amounts())
    return node_window_doc(Key("node", "n"), START_MS, WINDOW_MS, Parts(live=live))


def test_what_an_event_does_not_say_stays_unknown() -> None:
    assert training_of() == {"n_events": 1.0}
    doc = window_of(training_of())
    assert doc["n_events"] == 1
    assert not doc.keys() & {"energy_kwh", "emissions_kg", "mean_power_w", "loss", "accuracy", "covered_s"}


def test_zero_energy_is_a_value() -> None:
    assert window_of(training_of(energy_kwh=0.0))["energy_kwh"] == 0.0


def test_every_sum_is_one_that_the_stream_adds_up() -> None:
    everything = training_of(
        energy_kwh=1, cpu_energy_kwh=1, gpu_energy_kwh=0, ram_energy_kwh=0, interval_s=1, loss=1, accuracy=1
    )
    assert everything.keys() <= set(TRAINING_SUMS)
    assert node_of(cpu_energy_j=1, platform_energy_j=2, interval_s=1)[0].keys() <= set(NODE_SUMS)


def test_mean_power_counts_only_energy_whose_interval_is_known() -> None:
    doc = window_of(training_of(energy_kwh=0.001, interval_s=10.0), training_of(energy_kwh=5.0))
    assert doc["mean_power_w"] == pytest.approx(0.001 * J_PER_KWH / 10)
    assert doc["energy_kwh"] == pytest.approx(5.001)


def test_power_of_many_runs_is_their_energy_over_the_window() -> None:
    doc = window_of(training_of(energy_kwh=0.001), dimension="all")
    assert doc["mean_power_w"] == pytest.approx(0.001 * J_PER_KWH / 60)


def test_ranks_of_one_run_share_the_wall_time() -> None:
    ranks = [training_of(energy_kwh=0.001, interval_s=10.0, rank=r, world_size=2) for r in range(2)]
    doc = window_of(*ranks)
    assert doc["covered_s"] == 10.0
    assert doc["mean_power_w"] == pytest.approx(0.002 * J_PER_KWH / 10)


def test_loss_is_weighted_by_the_interval_and_plain_where_none_is_known() -> None:
    weighted = window_of(training_of(loss=1.0, interval_s=9.0), training_of(loss=2.0, interval_s=1.0))
    assert weighted["loss"] == pytest.approx(1.1)
    assert window_of(training_of(loss=1.0), training_of(loss=2.0))["loss"] == 1.5


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [(["measured"], "measured"), (["measured", "estimated"], "mixed"), (["mixed"], "mixed")],
    ids=str,
)
def test_a_window_says_how_its_energy_was_measured(kinds: list[str], expected: str) -> None:
    assert window_of(*(training_of(measurement=kind) for kind in kinds))["measurement"] == expected


def test_a_sum_beyond_a_float_is_not_shown() -> None:
    doc = window_of(*[training_of(loss=1.7e308)] * 2, training_of(energy_kwh=1.0))
    assert "loss" not in doc
    assert doc["energy_kwh"] == 1.0


energies = st.none() | st.floats(0, 1e6)
percents = st.none() | st.floats(0, 100)
shares = st.floats(0, 0.5)


@st.composite
def samples(draw: st.DrawFn) -> dict[str, Any]:
    gpus = [
        {"uuid": uuid, "energy_j": draw(energies), "utilization_pct": draw(percents)}
        for uuid in draw(st.sampled_from([[], ["g1"], ["g1", "g2"]]))
    ]
    consumers = [
        {"run_id": run, "cpu_time_share": draw(shares), "gpus": [{"uuid": "g1", "share": draw(shares)}]}
        for run in draw(st.sampled_from([[], ["r1"], ["r1", "r2"], ["r1", "r1"]]))
    ]
    return {
        "cpu_energy_j": draw(energies),
        "dram_energy_j": draw(energies),
        "platform_energy_j": draw(energies),
        "cpu_utilization_pct": draw(percents),
        "gpus": gpus,
        "consumers": consumers,
    }


@given(st.lists(samples(), min_size=1, max_size=4))
def test_node_energy_is_attributed_idle_and_unattributed(found: list[dict[str, Any]]) -> None:
    doc = node_window_of(*(node_of(**sample) for sample in found))
    if "energy_kwh" not in doc:
        assert all(
            s[name] is None for s in found for name in ("cpu_energy_j", "dram_energy_j", "platform_energy_j")
        )
        return
    scale = max(doc["energy_kwh"], 1e-12)
    parts = [doc[f"{name}_kwh"] for name in ("attributed", "idle", "unattributed")]
    assert abs(doc["energy_kwh"] - fsum(parts)) <= 1e-9 * scale
    assert all(part >= -1e-9 * scale for part in parts)
    assert abs(fsum(entry["energy_kwh"] for entry in doc["attributed"]) - parts[0]) <= 1e-9 * scale


def test_meters_that_overlap_are_not_added() -> None:
    sums, _ = node_of(cpu_energy_j=10, dram_energy_j=2, platform_energy_j=30)
    assert sums["energy_kwh"] * J_PER_KWH == pytest.approx(30)
    assert sums["other_energy_kwh"] * J_PER_KWH == pytest.approx(18)
    assert node_of(cpu_energy_j=10, platform_energy_j=3)[0]["energy_kwh"] * J_PER_KWH == pytest.approx(10)


def test_each_run_gets_its_share_of_what_was_busy() -> None:
    consumers = [{"run_id": "a", "cpu_time_share": 0.5}, {"run_id": "b", "cpu_time_share": 0.25}]
    sums, runs = node_of(cpu_energy_j=100, cpu_utilization_pct=40, consumers=consumers)
    assert {run: kwh * J_PER_KWH for run, kwh in runs.items()} == {
        "a": pytest.approx(20),
        "b": pytest.approx(10),
    }
    assert sums["idle_kwh"] * J_PER_KWH == pytest.approx(60)
    assert sums["unattributed_kwh"] * J_PER_KWH == pytest.approx(10)


def test_a_pod_is_charged_as_a_run_is_and_listed_apart() -> None:
    consumers = [
        {"run_id": "pod", "cpu_time_share": 0.5},
        {"namespace": "ml", "pod": "train-0", "cpu_time_share": 0.25, "gpus": [{"uuid": "g", "share": 0.5}]},
    ]
    found = node_of(cpu_energy_j=100, gpus=[{"uuid": "g", "energy_j": 40}], consumers=consumers)
    doc = node_window_of(found, found)
    assert doc["attributed"] == [{"run_id": "pod", "energy_kwh": pytest.approx(100 / J_PER_KWH)}]
    assert doc["pods"] == [{"namespace": "ml", "pod": "train-0", "energy_kwh": pytest.approx(90 / J_PER_KWH)}]
    assert doc["attributed_kwh"] == pytest.approx(190 / J_PER_KWH)


def test_nothing_is_idle_where_the_utilisation_is_not_known() -> None:
    assert node_of(cpu_energy_j=100)[0]["idle_kwh"] == 0.0


names = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=8)


@given(st.sampled_from(TRAINING.dimensions), st.none() | names, st.integers(0, 2**40))
def test_a_document_id_says_its_window(dimension: str, name: str | None, start: int) -> None:
    key = Key(dimension, name)
    assert parse_document_id(TRAINING, document_id(key, start)) == (key, start)
    of_node = Key("node", "a/b:c")
    assert parse_document_id(NODE, document_id(of_node, start)) == (of_node, start)


def test_rows_of_a_node_window_join_its_sums_and_its_runs() -> None:
    empty = dict.fromkeys(SOURCES["node"].sums)
    base = {"dimension": "node", "key": "n", "start_ms": START_MS}
    rows = [
        {**base, **empty, "run_id": "r1", "attributed_kwh": 0.5},
        {**base, **empty, "run_id": None, "n_samples": 2.0, "energy_kwh": 1.0, "attributed_kwh": 0.75},
        {**base, **empty, "run_id": "r2", "attributed_kwh": 0.25},
    ]
    ((_, start_ms, amounts),) = touched_by(NODE, rows, ()).live.values()
    assert start_ms == START_MS
    assert amounts.runs == {"r1": 0.5, "r2": 0.25}
    assert amounts.sums == {"n_samples": 2.0, "energy_kwh": 1.0, "attributed_kwh": 0.75}


def test_runs_that_did_not_change_keep_their_energy() -> None:
    held = Amounts({"n_samples": 1.0}, {"r1": 1.0, "r2": 2.0})
    assert _updated(held, Amounts({"n_samples": 2.0}, {"r2": 3.0})) == Amounts(
        {"n_samples": 2.0}, {"r1": 1.0, "r2": 3.0}
    )


def test_a_summary_counts_its_late_events_and_its_gap() -> None:
    live = Amounts({"n_events": 3.0, "energy_kwh": 3.0, "power_kwh": 3.0, "covered_s": 3.0})
    late = Amounts({"n_events": 2.0})
    facets = {"min": {"started_ms": START_MS}, "max": {"last_event_ms": START_MS + 10_000}}
    doc = summary_doc("r", Parts(live=live, late=late), Folded(), facets)
    assert (doc["n_events"], doc["n_late"]) == (5, 2)
    assert (doc["duration_s"], doc["gap_s"]) == (10.0, 7.0)
