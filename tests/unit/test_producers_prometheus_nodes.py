"""What Kepler and DCGM say becomes samples of nodes with pods: each joule once, supersets never added."""

from __future__ import annotations

from math import fsum
from typing import Any

import pytest

from producers.prometheus.nodes import CELL_MS, Cell, floor_ms, node_of, read_nodes, selector
from producers.prometheus.series import Series
from schemas.events import NodeSample
from schemas.parse import parse_node
from schemas.times import from_ms, to_ms
from spark_jobs.contributions import node_sums
from tests.prometheus_series import T0, rise, scraped, watts

GAP = 300_000
OLD = {"instance": "n1", "job": "kepler"}
NEW = {"node_name": "n1", "instance": "10.0.0.1:28282", "job": "kepler"}
GPU = {"Hostname": "n1", "UUID": "GPU-1", "gpu": "0", "modelName": "A100", "instance": "10.0.0.1:9400"}


def samples(series: list[Series], node_label: str | None = None, for_s: int = 660) -> list[NodeSample]:
    nodes = read_nodes(series, node_label, GAP)
    cells = [Cell(start) for start in range(floor_ms(T0), T0 + for_s * 1000, CELL_MS)]
    made = [sample for node in nodes for cell in cells if (sample := node.sample(cell)) is not None]
    for sample in made:  # each of them is one that the stream takes
        parse_node(sample.to_json(), from_ms(T0 + 10**7))
    return made


def summed(made: list[NodeSample], name: str) -> float:
    return fsum(getattr(sample, name) or 0.0 for sample in made)


def charged(made: list[NodeSample]) -> tuple[dict[str, float], dict[str, float]]:
    """Sums (kWh) and pods (J) as the stream adds them up."""
    pods: dict[str, float] = {}
    sums: dict[str, float] = {}
    for sample in made:
        parsed, used = node_sums(parse_node(sample.to_json(), from_ms(T0 + 10**7)).doc)
        for name, kwh in parsed.items():
            sums[name] = sums.get(name, 0.0) + kwh
        for pod, kwh in used.items():
            pods[pod] = pods.get(pod, 0.0) + kwh * 3.6e6
    return sums, pods


def new_kepler(zone: str, power_w: float, active: float, **labels: str) -> list[Series]:
    place = {**NEW, "zone": zone, "path": f"/sys/{zone}", **labels}
    return [
        scraped("kepler_node_cpu_joules_total", watts(power_w, 7e4), **place),
        scraped("kepler_node_cpu_active_joules_total", watts(power_w * active, 3e4), **place),
        scraped("kepler_node_cpu_idle_joules_total", watts(power_w * (1 - active), 4e4), **place),
    ]


def new_pod(name: str, power_w: float, zone: str = "package", **more: Any) -> Series:
    labels = {"pod_namespace": "ml", "pod_name": name, "pod_id": f"id-{name}", "state": "running", **NEW}
    return scraped("kepler_pod_cpu_joules_total", watts(power_w), zone=zone, **{**labels, **more})


def test_new_names_zone_by_zone_and_no_superset() -> None:
    package, dram = new_kepler("package", 80, 0.5), new_kepler("dram", 12, 0.5)
    others = [*new_kepler("core", 60, 0.5), *new_kepler("uncore", 5, 0.5), *new_kepler("psys", 130, 0.5)]
    made = samples([*package, *dram, *others])
    assert summed(made, "cpu_energy_j") == pytest.approx(rise(package[0]), rel=1e-9)
    assert summed(made, "dram_energy_j") == pytest.approx(rise(dram[0]), rel=1e-9)
    assert summed(made, "platform_energy_j") == pytest.approx(130 * 585, rel=1e-9)
    assert made[3].cpu_utilization_pct == pytest.approx(50)
    assert {s.measurement for s in made} == {"measured"}
    assert {s.meters for s in made} == {("kepler",)}
    assert summed(made, "interval_s") == pytest.approx(585)
    sums, _ = charged(made)
    assert sums["energy_kwh"] * 3.6e6 == pytest.approx(130 * 585, rel=1e-9)


def test_a_register_that_wraps_does_not_hide_what_kepler_has_summed_up() -> None:
    whole, active, idle = new_kepler("package", 80, 0.5)
    wrapped = Series(whole.name, whole.labels, tuple((at, value % 80_000) for at, value in whole.points))
    assert any(b < a for (_, a), (_, b) in zip(wrapped.points, wrapped.points[1:], strict=False))
    assert summed(samples([wrapped, active, idle]), "cpu_energy_j") == pytest.approx(rise(whole), rel=1e-9)
    assert 0 < summed(samples([wrapped]), "cpu_energy_j") < rise(whole)


def test_pods_get_what_kepler_gives_them() -> None:
    series = [*new_kepler("package", 80, 0.5), *new_kepler("dram", 20, 0.5), *new_kepler("psys", 130, 0.5)]
    pods = [new_pod("a", 20), new_pod("a", 5, "dram"), new_pod("b", 10), new_pod("b", 60, "psys")]
    sums, charges = charged(samples([*series, *pods]))
    assert charges["pod|ml|a"] == pytest.approx(25 * 585, rel=1e-9)
    assert charges["pod|ml|b"] == pytest.approx(10 * 585, rel=1e-9)
    assert sums["idle_kwh"] * 3.6e6 == pytest.approx(50 * 585, rel=1e-9)
    parts = fsum(sums[f"{name}_kwh"] for name in ("attributed", "idle", "unattributed"))
    assert parts == pytest.approx(sums["energy_kwh"], rel=1e-9)


def test_a_pod_that_ends_keeps_its_counter_under_another_state() -> None:
    running = new_pod("a", 20)
    ended = Series(running.name, {**running.labels, "state": "terminated"}, running.points[20:22])
    running = Series(running.name, running.labels, running.points[:20])
    _, charges = charged(samples([*new_kepler("package", 80, 0.5), running, ended]))
    assert charges["pod|ml|a"] == pytest.approx(20 * 21 * 15, rel=1e-9)


def test_pods_above_their_node_are_scaled_down() -> None:
    sums, charges = charged(samples([*new_kepler("package", 80, 0.5), new_pod("a", 30), new_pod("b", 30)]))
    assert charges["pod|ml|a"] == charges["pod|ml|b"] == pytest.approx(20 * 585, rel=1e-9)
    assert sums["unattributed_kwh"] == pytest.approx(0, abs=1e-12)


def test_without_active_energy_the_usage_ratio_says_what_was_idle() -> None:
    whole = new_kepler("package", 80, 0.5)[0]
    usage = scraped("kepler_node_cpu_usage_ratio", lambda _: 0.25, **NEW)
    sums, charges = charged(samples([whole, usage, new_pod("a", 20)]))
    assert charges["pod|ml|a"] == pytest.approx(20 * 585, rel=1e-9)
    assert sums["idle_kwh"] * 3.6e6 == pytest.approx(60 * 585, rel=1e-9)
    sums, charges = charged(samples([whole, new_pod("a", 20)]))
    assert charges["pod|ml|a"] == pytest.approx(20 * 585, rel=1e-9)
    assert sums["idle_kwh"] == 0


def old_node(zone: str, dynamic_w: float, idle_w: float, package: str = "0", **more: str) -> list[Series]:
    labels = {**OLD, "package": package, "source": "intel_rapl", **more}
    name = f"kepler_node_{zone}_joules_total"
    return [
        scraped(name, watts(dynamic_w), mode="dynamic", **labels),
        scraped(name, watts(idle_w), mode="idle", **labels),
    ]


def old_pod(name: str, dynamic_w: float, metric: str = "package", container: str = "c") -> list[Series]:
    labels = {**OLD, "container_namespace": "ml", "pod_name": name, "container_id": container}
    full = f"kepler_container_{metric}_joules_total" if metric else "kepler_container_joules_total"
    return [
        scraped(full, watts(dynamic_w), mode="dynamic", **labels),
        scraped(full, watts(3.0), mode="idle", **labels),
    ]


def test_old_names_sum_modes_and_sockets_and_charge_what_was_dynamic() -> None:
    node = [*old_node("package", 30, 20), *old_node("package", 10, 20, "1"), *old_node("dram", 4, 6)]
    node += [*old_node("platform", 70, 60), *old_node("core", 25, 15), *old_node("other", 9, 9)]
    pods = [
        *old_pod("a", 8),
        *old_pod("a", 2, "dram"),
        *old_pod("a", 5, container="d"),
        *old_pod("a", 90, ""),
    ]
    made = samples([*node, *pods])
    assert summed(made, "cpu_energy_j") == pytest.approx(80 * 585, rel=1e-9)
    assert summed(made, "dram_energy_j") == pytest.approx(10 * 585, rel=1e-9)
    assert summed(made, "platform_energy_j") == pytest.approx(130 * 585, rel=1e-9)
    assert made[3].cpu_utilization_pct == pytest.approx(100 * 44 / 90)
    assert charged(made)[1] == {"pod|ml|a": pytest.approx(15 * 585, rel=1e-9)}


def test_the_sum_of_a_container_is_read_where_its_parts_are_not_exported() -> None:
    _, charges = charged(samples([*old_node("package", 30, 20), *old_pod("a", 9, "")]))
    assert charges == {"pod|ml|a": pytest.approx(9 * 585, rel=1e-9)}


def test_a_trained_model_is_an_estimate() -> None:
    made = samples(old_node("package", 30, 20, source="trained_power_model"))
    assert {sample.measurement for sample in made} == {"estimated"}


def test_both_dialects_of_one_time_count_once() -> None:
    old = [*old_node("package", 40, 40), *old_pod("a", 20)]
    new = [*new_kepler("package", 80, 0.5), new_pod("a", 20)]
    sums, charges = charged(samples([*old, *new]))
    assert sums["cpu_energy_kwh"] * 3.6e6 == pytest.approx(80 * 585, rel=1e-9)
    assert charges == {"pod|ml|a": pytest.approx(20 * 585, rel=1e-9)}


def test_two_servers_that_scrape_one_kepler_count_once() -> None:
    twice = [*new_kepler("package", 80, 0.5), *new_kepler("package", 80, 0.5, prometheus_replica="b")]
    assert summed(samples(twice), "cpu_energy_j") == pytest.approx(80 * 585, rel=1e-9)


def gpu(value: Any = None, name: str = "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", **labels: str) -> Series:
    return scraped(name, value or (lambda at: 5e9 + 200.0 * at), **{**GPU, **labels})


def pod_labels(name: str, prefix: str = "") -> dict[str, str]:
    return {f"{prefix}pod": name, f"{prefix}namespace": "ml", f"{prefix}container": "main"}


def test_a_time_sliced_gpu_counts_once_and_is_split_among_its_pods() -> None:
    repeated = [gpu(**pod_labels(name), vgpu=str(i)) for i, name in enumerate("abcd")]
    made = samples(
        [*repeated, *(gpu(lambda _: 100.0, "DCGM_FI_DEV_GPU_UTIL", **pod_labels(n)) for n in "abcd")]
    )
    sums, charges = charged(made)
    assert sums["gpu_energy_kwh"] * 3.6e6 == pytest.approx(200 * 585, rel=1e-9)
    assert charges == {f"pod|ml|{n}": pytest.approx(50 * 585, rel=1e-9) for n in "abcd"}
    assert len(made[2].gpus or ()) == 1
    assert made[2].meters == ("dcgm",)


def test_a_partitioned_gpu_is_split_by_how_busy_its_parts_are() -> None:
    parts = {"a": ("1", "2g.20gb", 0.5), "b": ("2", "1g.10gb", 1.0), "c": ("3", "1g.10gb", 0.0)}
    series = []
    for name, (instance, profile, busy) in parts.items():
        labels = {**pod_labels(name), "GPU_I_ID": instance, "GPU_I_PROFILE": profile}
        series += [gpu(**labels), gpu(lambda _, busy=busy: busy, "DCGM_FI_PROF_SM_ACTIVE", **labels)]
    sums, charges = charged(samples(series))
    assert sums["gpu_energy_kwh"] * 3.6e6 == pytest.approx(200 * 585, rel=1e-9)
    assert charges == {
        "pod|ml|a": pytest.approx(100 * 585, rel=1e-9),
        "pod|ml|b": pytest.approx(100 * 585, rel=1e-9),
        "pod|ml|c": pytest.approx(0, abs=1e-9),
    }


def test_idle_parts_of_the_gpu_are_no_pods() -> None:
    utilisation = gpu(lambda _: 25.0, "DCGM_FI_DEV_GPU_UTIL", **pod_labels("a"))
    sums, charges = charged(samples([gpu(**pod_labels("a")), utilisation]))
    assert charges["pod|ml|a"] == pytest.approx(50 * 585, rel=1e-9)
    assert sums["idle_kwh"] * 3.6e6 == pytest.approx(150 * 585, rel=1e-9)


@pytest.mark.parametrize("idle", [True, False], ids=["idle", "held"])
def test_the_exporters_own_pod_uses_no_gpu(idle: bool) -> None:
    own = {"pod": "dcgm-exporter-x7k2p", "namespace": "gpu-operator", "container": "exporter"}
    series = gpu(**own, **({} if idle else pod_labels("a", "exported_")))
    _, charges = charged(samples([series]))
    assert charges == ({} if idle else {"pod|ml|a": pytest.approx(200 * 585, rel=1e-9)})


def test_a_pod_pays_for_the_time_that_it_held_the_gpu() -> None:
    held, free = gpu(**pod_labels("a")), gpu()
    half = len(held.points) // 2
    series = [
        Series(held.name, held.labels, held.points[:half]),
        Series(free.name, free.labels, free.points[half:]),
    ]
    sums, charges = charged(samples(series))
    assert sums["gpu_energy_kwh"] * 3.6e6 == pytest.approx(rise(held) / 1000, rel=1e-9)
    assert charges["pod|ml|a"] == pytest.approx(200 * 585 / 2, rel=0.05)


def test_a_gpu_that_tells_only_its_power_is_an_estimate() -> None:
    made = samples([gpu(lambda _: 150.0, "DCGM_FI_DEV_POWER_USAGE", **pod_labels("a"))])
    assert fsum(g.energy_j or 0 for s in made for g in s.gpus or ()) == pytest.approx(150 * 585, rel=1e-9)
    assert {s.measurement for s in made} == {"estimated"}


@pytest.mark.parametrize("blank", [9223372036854775794.0, 140737488355328.0, 2147483632.0], ids=str)
def test_blank_readings_are_missing(blank: float) -> None:
    whole = gpu(lambda at: 2e9 + 200.0 * at)
    broken = Series(
        whole.name, whole.labels, (*whole.points[:9], (whole.points[9][0], blank), *whole.points[10:])
    )
    made = samples([broken])
    assert fsum(g.energy_j or 0 for s in made for g in s.gpus or ()) == pytest.approx(200 * 585, rel=1e-9)


def test_a_sample_holds_cpu_and_gpu_and_its_time_once() -> None:
    late = scraped(
        "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", lambda at: 200.0 * at, every_ms=60_000, phase_ms=50_000, **GPU
    )
    made = samples([*new_kepler("package", 80, 0.5), late])
    assert len({s.sequence for s in made}) == len(made)
    sums, _ = charged(made)
    assert sums["covered_s"] == pytest.approx(590 - 4.321, abs=1)
    assert sums["energy_kwh"] * 3.6e6 == pytest.approx(80 * 585 + 200 * 540, rel=1e-9)


def test_a_sample_lies_in_the_window_whose_energy_it_tells() -> None:
    first = samples(new_kepler("package", 80, 0.5))[0]
    assert to_ms(first.timestamp) == floor_ms(T0) + CELL_MS - 1
    assert first.sequence == floor_ms(T0) // CELL_MS


@pytest.mark.parametrize(
    ("labels", "label", "expected"),
    [
        ({"node_name": "a", "instance": "b:1"}, None, "a"),
        ({"Hostname": "a", "node": "k"}, None, "k"),
        ({"exported_instance": "a", "instance": "10.0.0.1:9"}, None, "a"),
        ({"instance": "gpu-7:9400"}, None, "gpu-7"),
        ({"rack": "r 1/x", "instance": "b"}, "rack", "r-1/x"),
        ({}, None, ""),
    ],
    ids=str,
)
def test_the_node_is_named_by_the_label_that_knows_it(
    labels: dict[str, str], label: str | None, expected: str
) -> None:
    assert node_of(Series("x", labels, ()), label) == expected


def test_the_selector_names_every_series_and_what_the_settings_add() -> None:
    assert selector('cluster="a"').endswith('",cluster="a"}')
    assert "kepler_pod_cpu_joules_total" in selector(None)
