"""The simulated fleets: repeatable, physically sensible, and with a truth that the contract's own parser finds."""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from joulestream.simulate.catalogue import MACHINES
from joulestream.simulate.impurity import DAMAGES
from joulestream.simulate.physics import Demand, node_tick
from joulestream.simulate.plan import diurnal, plan_fleet
from joulestream.simulate.spec import FleetSpec, Impurity, SpecError
from joulestream.simulate.truth import Total
from joulestream.simulate.writing import Simulation, paced, write_files
from schemas.errors import ContractError
from schemas.parse import parse_node, parse_training
from schemas.topics import NODE_METRICS, TRAINING_EVENTS
from schemas.units import J_PER_KWH

NOW = datetime(2026, 6, 1, tzinfo=timezone.utc)
SMALL = FleetSpec(nodes=5, runs=25, days=0.5, every_s=120, seed=11, faults=True)
ROUGH = Impurity(duplicates=0.2, disorder=0.3, malformed=0.1, late=0.1)
PARSE = {TRAINING_EVENTS: parse_training, NODE_METRICS: parse_node}


def judged(simulation):
    """What the contract makes of all messages: documents by identity, duplicates and reasons by topic."""
    docs = {topic: {} for topic in PARSE}
    twice, reasons = Counter(), defaultdict(Counter)
    for message in simulation.messages():
        try:
            parsed = PARSE[message.topic](message.value, NOW)
        except ContractError as error:
            reasons[message.topic][error.code] += 1
            continue
        twice[message.topic] += parsed.identity in docs[message.topic]
        docs[message.topic].setdefault(parsed.identity, parsed.doc)
    return docs, twice, reasons


@pytest.mark.parametrize("impurity", [Impurity(), ROUGH], ids=["clean", "rough"])
def test_truth_is_what_the_contract_makes_of_the_messages(impurity):
    simulation = Simulation(SMALL, impurity)
    docs, twice, reasons = judged(simulation)
    truth = simulation.truth()
    for topic, counts in truth["messages"].items():
        assert counts["accepted"] == len(docs[topic])
        assert counts["duplicate"] == twice[topic]
        assert counts["rejected"] == dict(reasons[topic])
        assert counts["messages"] == counts["accepted"] + counts["duplicate"] + counts["rejected_total"]
    training = list(docs[TRAINING_EVENTS].values())
    for dimension, name in (("runs", "run_id"), ("users", "user_id"), ("models", "model_name")):
        for entry in truth[dimension]:
            mine = [doc for doc in training if doc.get(name) == entry[name]]
            assert entry["events"] == len(mine)
            assert entry["energy_kwh"] == pytest.approx(sum(d.get("energy_kwh", 0) for d in mine), rel=1e-12)
            emitted = sum(doc.get("emissions_kg", 0) for doc in mine)
            assert entry["emissions_kg"] == pytest.approx(emitted, rel=1e-12)
    for entry in truth["regions"]:
        mine = [doc for doc in training if doc.get("region_iso") == entry["region_iso"]]
        assert entry["events"] == len(mine)


def test_node_truth_is_the_devices_energy():
    simulation = Simulation(SMALL, ROUGH)
    docs, _, _ = judged(simulation)
    for entry in simulation.truth()["nodes"]:
        mine = [doc for doc in docs[NODE_METRICS].values() if doc["node_id"] == entry["node_id"]]
        cpu = sum(doc.get("cpu_energy_j", 0) for doc in mine) / J_PER_KWH
        assert entry["samples"] == len(mine)
        assert entry["cpu_energy_kwh"] == pytest.approx(cpu, rel=1e-12)


def test_totals_of_every_dimension_agree():
    simulation = Simulation(SMALL, Impurity())
    list(simulation.messages())
    truth = simulation.truth()
    for dimension in ("runs", "users", "models", "regions"):
        for name in ("events", "energy_kwh", "emissions_kg"):
            total = math.fsum(entry[name] for entry in truth[dimension])
            assert total == pytest.approx(truth["total"][name], rel=1e-12)
    assert truth["total"]["energy_kwh"] > 0


def test_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path):
    written = []
    for number, seed in enumerate((11, 11, 12)):
        spec = FleetSpec(nodes=2, runs=5, days=0.2, every_s=120, seed=seed)
        file = tmp_path / f"{number}.ndjson"
        write_files(Simulation(spec, ROUGH), {TRAINING_EVENTS: file})
        written.append(file.read_bytes())
    assert written[0] == written[1] != written[2]


def test_a_topic_is_the_same_alone_and_beside_the_other():
    both = [m.value for m in Simulation(SMALL, ROUGH).messages() if m.topic == NODE_METRICS]
    alone = [m.value for m in Simulation(SMALL, ROUGH).messages((NODE_METRICS,))]
    assert both == alone


def test_clean_messages_come_in_order_of_event_time():
    times = [message.at_ms for message in Simulation(SMALL, Impurity()).messages()]
    assert times == sorted(times)


def test_late_messages_are_sent_after_events_that_are_hours_younger():
    spec = FleetSpec(nodes=2, runs=4, days=1, every_s=300, seed=3)
    newest, behind = 0, 0
    simulation = Simulation(spec, Impurity(late=0.2))
    for message in simulation.messages((NODE_METRICS,)):
        newest = max(newest, message.at_ms)
        behind += newest - message.at_ms >= 7_000_000
    assert 0 < behind <= simulation.truth()["messages"][NODE_METRICS]["held_back"]


def test_every_damage_gets_its_reason_on_both_topics():
    for topic, parse in PARSE.items():
        message = next(iter(Simulation(SMALL, Impurity()).messages((topic,))))
        for code, damage in DAMAGES:
            broken = damage(json.loads(message.value))
            assert b"\n" not in broken
            with pytest.raises(ContractError) as caught:
                parse(broken, NOW)
            assert caught.value.code == code


@given(
    cores=st.lists(st.floats(0.5, 64), max_size=12),
    load=st.floats(0, 1),
    background=st.floats(0, 0.2),
    machine=st.sampled_from(MACHINES),
    seed=st.integers(0, 99),
)
@settings(max_examples=200)
def test_runs_never_use_more_than_their_node(cores, load, background, machine, seed):
    import random

    gpus = tuple(range(min(2, machine.gpu_count)))
    demands = [Demand(f"r{i}", c, gpus, load) for i, c in enumerate(cores)]
    tick = node_tick(machine, demands, background, 60.0, random.Random(seed))
    assert sum(use.cpu_share for use in tick.uses) <= 1
    assert sum(use.cpu_energy_j for use in tick.uses) <= tick.cpu_energy_j
    assert sum(use.ram_energy_j for use in tick.uses) <= tick.dram_energy_j
    assert sum(use.gpu_energy_j for use in tick.uses) <= sum(gpu.energy_j for gpu in tick.gpus) + 1e-9
    assert tick.platform_energy_j >= tick.cpu_energy_j + tick.dram_energy_j
    assert 0 <= tick.cpu_pct <= 100
    assert all(0 <= gpu.utilization_pct <= 100 for gpu in tick.gpus)


def test_training_learns_and_energy_is_the_sum_of_its_parts():
    first, last = {}, {}
    for message in Simulation(SMALL, Impurity()).messages((TRAINING_EVENTS,)):
        doc = parse_training(message.value, NOW).doc
        if "loss" in doc:
            first.setdefault(doc["run_id"], doc)
            last[doc["run_id"]] = doc
            parts = (doc.get(f"{part}_energy_kwh", 0.0) for part in ("cpu", "gpu", "ram"))
            assert doc["energy_kwh"] == pytest.approx(sum(parts), rel=1e-12)
    plans = {run.run_id: run for run in plan_fleet(SMALL).runs}
    done = [run for run, plan in plans.items() if plan.status == "completed" and plan.last - plan.first > 10]
    assert done
    for run in done:
        assert last[run]["loss"] < first[run]["loss"]
        assert last[run]["accuracy"] > first[run]["accuracy"]


def test_a_fleet_has_all_ends_unknowns_and_both_dialects():
    plan = plan_fleet(FleetSpec(nodes=6, runs=200, days=2, every_s=600, seed=1))
    assert {run.status for run in plan.runs} == {"completed", "failed", "stopped", "running"}
    assert {run.plain for run in plan.runs} == {True, False}
    assert any(run.user_id is None for run in plan.runs)
    assert any(len(run.ranks) > 1 for run in plan.runs)
    assert all(0 <= run.first < run.last < plan.spec.ticks for run in plan.runs)


def test_load_follows_the_day_and_the_week():
    monday_15h = int(datetime(2025, 1, 6, 15, tzinfo=timezone.utc).timestamp() * 1000)
    hour = 3_600_000
    assert diurnal(monday_15h) > diurnal(monday_15h - 12 * hour)
    assert diurnal(monday_15h) > diurnal(monday_15h + 5 * 24 * hour)
    assert diurnal(monday_15h - hour, 1.0) == pytest.approx(diurnal(monday_15h))


def test_different_specs_never_share_a_run():
    one, other = (plan_fleet(FleetSpec(seed=seed, days=0.1)) for seed in (1, 2))
    assert not {run.run_id for run in one.runs} & {run.run_id for run in other.runs}


@pytest.mark.parametrize(
    "wrong",
    [{"nodes": 0}, {"runs": -1}, {"days": 0}, {"days": math.nan}, {"every_s": 0}, {"every_s": 1e9}],
    ids=str,
)
def test_a_fleet_that_cannot_be_is_refused_with_a_reason(wrong):
    with pytest.raises(SpecError, match="--"):
        FleetSpec(**wrong)


def test_all_problems_are_named_at_once():
    with pytest.raises(SpecError, match=r"(?s)--nodes.*--runs"):
        FleetSpec(nodes=0, runs=-1)


def test_a_share_above_one_is_refused():
    with pytest.raises(SpecError, match="--late is 2"):
        Impurity(late=2)


@given(st.lists(st.floats(-1e9, 1e9), max_size=400))
def test_running_total_is_the_correctly_rounded_sum(values):
    total = Total()
    for value in values:
        total.add(value)
    assert total.value == math.fsum(values)


def test_cadence_lets_one_interval_pass_per_step():
    now, slept = [0.0], []

    def sleep(seconds):
        slept.append(seconds)
        now[0] += seconds

    spec = FleetSpec(nodes=1, runs=0, days=0.01, every_s=60, seed=1)
    messages = Simulation(spec, Impurity()).messages((NODE_METRICS,))
    sent = [now[0] for _ in paced(messages, spec, 2.0, lambda: now[0], sleep)]
    assert sent == pytest.approx([2.0 * tick for tick in range(spec.ticks)])
    assert spec.end - spec.start == timedelta(seconds=60 * (spec.ticks + 1))
