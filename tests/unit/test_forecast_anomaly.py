"""Anomalies of a series: raised once with their evidence, resolved when over, the same after a restart."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from math import inf, nan

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_jobs.forecast.anomalies.rules import LIMITS, Judged
from spark_jobs.forecast.anomalies.watch import (
    IDLE,
    POWER,
    RAISED,
    RESOLVED,
    SEEN,
    STUCK,
    AnomalyWatch,
    Signal,
)
from spark_jobs.forecast.series import Observation

MIN = 60_000
T0 = 1_700_000_040_000
QUANTILES = (90.0, 93.0, 100.0, 107.0, 110.0)
LOW, HIGH = 90.0, 110.0


def window(n: int, power_w: float = 100.0, gpu: float | None = None, **more: object) -> Observation:
    return Observation(T0 + n * MIN, power_w, gpu, **more)  # type: ignore[arg-type]  # a test's own fields


def judged(actual: float, horizon_s: int = 300, quantiles: Sequence[float] = QUANTILES) -> list[Judged]:
    return [(horizon_s, quantiles, actual)]


def fed(watch: AnomalyWatch, powers: Sequence[float], first: int = 0, horizon_s: int = 300) -> list[Signal]:
    """The signals of windows with these powers, each with a forecast of 100 W."""
    found = []
    for n, power in enumerate(powers, first):
        found += watch.observe(window(n, power), judged(power, horizon_s))
    return found


def states(signals: Sequence[Signal], rule: str) -> list[str]:
    return [signal.state for signal in signals if signal.rule == rule and signal.state != SEEN]


@pytest.fixture
def node() -> AnomalyWatch:
    return AnomalyWatch("node/n1", MIN)


QUIET = [100.0] * 12


# power


def test_power_outside_for_three_windows_is_raised_once_with_its_evidence(node: AnomalyWatch) -> None:
    signals = fed(node, [*QUIET, 150, 151, 152, 153, 154])
    assert [signal.state for signal in signals] == [RAISED, SEEN, SEEN]
    raised = signals[0]
    assert (raised.rule, raised.since_ms, raised.at_ms) == (POWER, T0 + 12 * MIN, T0 + 15 * MIN)
    assert raised.evidence == {
        "power_w": 152,
        "low_w": LOW,
        "high_w": HIGH,
        "level_before_w": 100.0,
        "horizon_s": 300,
        "windows": 3,
        "side": "above",
    }
    assert raised.message == "node/n1: 152 W is above the 90 to 110 W that were forecast, for 3 windows"


def test_it_is_resolved_after_two_windows_inside_and_may_come_again(node: AnomalyWatch) -> None:
    signals = fed(node, [*QUIET, 60, 60, 60, 100, 60, 100, 100, *QUIET, 60, 60, 60])
    assert states(signals, POWER) == [RAISED, RESOLVED, RAISED]
    assert [s.at_ms for s in signals if s.state == RESOLVED] == [T0 + 19 * MIN]
    assert len({s.since_ms for s in signals if s.state == RAISED}) == 2


@pytest.mark.parametrize(
    "powers",
    [[150, 150, 100] * 8, [150, 150, 50, 50] * 6, [LOW, HIGH] * 4],
    ids=["two windows at a time", "changing sides", "on the edges"],
)
def test_less_than_three_windows_on_one_side_are_none(node: AnomalyWatch, powers: list[float]) -> None:
    assert fed(node, [*QUIET, *powers]) == []


def test_a_forecast_that_saw_the_beginning_is_no_measure(node: AnomalyWatch) -> None:
    assert fed(node, [*QUIET, *[150] * 10], horizon_s=120) == []


def test_the_shortest_forecast_that_looks_far_enough_decides(node: AnomalyWatch) -> None:
    for n in range(33):
        power = 100.0 if n < 28 else 150.0
        right = tuple(quantile * power / 100.0 for quantile in QUANTILES)
        joined = [(60, QUANTILES, power), (900, QUANTILES, power), (300, right, power)]
        assert node.observe(window(n, power), joined) == []


def test_a_narrow_interval_is_widened_to_what_matters(node: AnomalyWatch) -> None:
    thin = (99.9, 99.95, 100.0, 100.05, 100.1)
    least = max(LIMITS.least_w, LIMITS.least_share * 100.0)
    for n in range(30):
        power = 100.0 + (least - 0.1 if n >= 12 else 0.0)
        assert node.observe(window(n, power), judged(power, 300, thin)) == []
    again = AnomalyWatch("node/n1", MIN)
    powers = [*QUIET, *[100.1 + least] * 3]
    found = [again.observe(window(n, power), judged(power, 300, thin)) for n, power in enumerate(powers)]
    assert [len(signals) for signals in found[-3:]] == [0, 0, 1]


def test_a_wide_interval_is_narrowed_to_what_is_usual(node: AnomalyWatch) -> None:
    wide = (0.0, 0.0, 100.0, 900.0, 990.0)
    usual = [106.0, 94.0] * 15
    powers = [*usual, *[125.0] * 3]
    found = [node.observe(window(n, power), judged(power, 300, wide)) for n, power in enumerate(powers)]
    assert [len(signals) for signals in found[-3:]] == [0, 0, 1]
    assert found[-1][0].evidence["high_w"] == pytest.approx(100.0 + 3 * 6.0)


def test_the_jumps_of_a_start_are_not_taken_for_the_usual_error(node: AnomalyWatch) -> None:
    wide = (0.0, 0.0, 100.0, 900.0, 990.0)
    powers = [*QUIET, *[250.0, 20.0] * 5, *[101.0, 99.0] * 10, *[125.0] * 3]
    found = [node.observe(window(n, power), judged(power, 300, wide)) for n, power in enumerate(powers)]
    assert [len(signals) for signals in found[-3:]] == [0, 0, 1]


def test_a_usual_error_is_not_known_from_a_few_windows(node: AnomalyWatch) -> None:
    wide = (0.0, 0.0, 100.0, 900.0, 990.0)
    for n, power in enumerate([*QUIET, *[100.0] * 4, *[150.0] * 3]):
        assert node.observe(window(n, power), judged(power, 300, wide)) == []


def test_a_forecast_that_was_wrong_while_nothing_happened_is_no_anomaly(node: AnomalyWatch) -> None:
    wrong = tuple(quantile + 60.0 for quantile in QUANTILES)
    for n in range(60):
        power = 100.0 + n % 3
        assert node.observe(window(n, power), judged(power, 300, wrong if n > 30 else QUANTILES)) == []


def test_a_level_that_lasts_is_the_new_normal(node: AnomalyWatch) -> None:
    signals = fed(node, [*QUIET, *[150.0] * 40])
    assert states(signals, POWER)[:2] == [RAISED, RESOLVED]
    ended = next(s for s in signals if s.state == RESOLVED)
    assert ended.at_ms == T0 + (12 + LIMITS.accept + 1) * MIN


def test_forecasts_from_during_an_anomaly_are_no_measure_of_what_follows(node: AnomalyWatch) -> None:
    fed(node, [*QUIET, *[150.0] * 6, 100.0, 100.0])
    high = tuple(q + 50.0 for q in QUANTILES)  # issued while the power was high
    for n in range(20, 23):
        assert node.observe(window(n, 100.0), judged(100.0, 300, high)) == []


# The first forecast that counts was issued `settle` windows in and is about the window 5 later, the first level.
@pytest.mark.parametrize(("change", "expected"), [(LIMITS.settle + 4, []), (LIMITS.settle + 5, [RAISED])])
@pytest.mark.parametrize("beginning", ["start", "gap", "run"])
def test_the_first_windows_of_something_new_are_not_judged(
    beginning: str, change: int, expected: list[str]
) -> None:
    watch = AnomalyWatch("node/n1", MIN)
    first = 0
    if beginning != "start":
        for n in range(12):
            watch.observe(window(n, run_id="a"), judged(100.0))
        first = 12 if beginning == "run" else 16
    run = "b" if beginning == "run" else "a"
    found = []
    for n in range(20):
        power = 150.0 if n >= change else 100.0
        found += watch.observe(window(first + n, power, run_id=run), judged(power))
    assert states(found, POWER) == expected


def test_runs_that_take_turns_on_a_node_are_no_beginning() -> None:
    watch = AnomalyWatch("node/n1", MIN)
    found = []
    for n in range(60):
        power = 150.0 if n >= 40 else 100.0
        found += watch.observe(window(n, power, run_id="ab"[n % 2]), judged(power))
    assert states(found, POWER) == [RAISED]


def test_an_anomaly_ends_with_the_run_it_was_in() -> None:
    watch = AnomalyWatch("node/n1", MIN)
    found = []
    for n in range(20):
        power = 150.0 if n >= 14 else 100.0
        found += watch.observe(window(n, power, run_id="a" if n < 18 else "b"), judged(power))
    assert states(found, POWER) == [RAISED, RESOLVED]


def test_without_forecasts_there_is_no_verdict(node: AnomalyWatch) -> None:
    for n in range(40):
        assert node.observe(window(n, 100.0 * (1 + n % 7)), []) == []
        assert AnomalyWatch("node/n1", MIN).observe(window(n), [(300, (nan,) * 5, 1.0)]) == []


def test_a_window_whose_power_is_no_number_is_passed_over(node: AnomalyWatch) -> None:
    signals = fed(node, [*QUIET, 150.0, nan, 150.0, inf, 150.0])
    assert states(signals, POWER) == [RAISED]
    assert signals[0].since_ms == T0 + 12 * MIN


def test_a_forecast_that_is_no_number_teaches_nothing(node: AnomalyWatch) -> None:
    fed(node, QUIET)
    before = node.to_doc()["power"]
    node.observe(window(12), judged(100.0, 300, (nan,) * 5))
    assert node.to_doc()["power"] == before


# idle GPU


def idle_windows(n: int, busy: int = 10) -> list[Observation]:
    return [window(i, 300.0, 95.0, run_id="r1") for i in range(busy)] + [
        window(busy + i, 80.0, 1.0, run_id="r1") for i in range(n)
    ]


def seen_by(watch: AnomalyWatch, windows: Sequence[Observation]) -> list[Signal]:
    return [signal for one in windows for signal in watch.observe(one, [])]


def test_an_idle_gpu_in_a_run_is_raised_after_five_windows(node: AnomalyWatch) -> None:
    signals = seen_by(node, idle_windows(8))
    assert [s.state for s in signals] == [RAISED, SEEN, SEEN, SEEN]
    raised = signals[0]
    assert (raised.rule, raised.severity, raised.run_id) == (IDLE, "warning", "r1")
    assert raised.since_ms == T0 + 10 * MIN
    assert raised.evidence == {"gpu_utilization_pct": 1.0, "power_w": 80.0, "windows": 5, "busy_w": 300.0}


@pytest.mark.parametrize(
    "after",
    [
        window(18, 290.0, 90.0, run_id="r1"),
        window(18, 80.0, 1.0, run_id="r2"),
        window(18, 80.0, 1.0),
        window(18, 80.0, None, run_id="r1"),
    ],
    ids=["busy again", "another run", "no run", "utilisation not known"],
)
def test_an_idle_gpu_is_resolved_when_that_is_over(node: AnomalyWatch, after: Observation) -> None:
    signals = seen_by(node, [*idle_windows(8), after])
    assert states(signals, IDLE) == [RAISED, RESOLVED]


def test_four_idle_windows_or_high_power_or_no_run_are_no_hang(node: AnomalyWatch) -> None:
    assert seen_by(node, idle_windows(4)) == []
    high = [replace(one, power_w=290.0) for one in idle_windows(30)]
    assert states(seen_by(AnomalyWatch("node/n1", MIN), high), IDLE) == []
    alone = [replace(one, run_id=None) for one in idle_windows(30)]
    assert states(seen_by(AnomalyWatch("node/n1", MIN), alone), IDLE) == []


def test_a_gap_ends_what_was_seen_before_it(node: AnomalyWatch) -> None:
    stuck = [replace(one, power_w=80.0) for one in idle_windows(8)]
    signals = seen_by(node, stuck)
    assert states(signals, STUCK) == [RAISED]
    assert states(seen_by(node, [window(40, 80.0, 1.0, run_id="r1")]), STUCK) == [RESOLVED]
    again = AnomalyWatch("node/n1", MIN)
    seen_by(again, idle_windows(8))
    later = [window(40 + n, 80.0, 1.0, run_id="r1") for n in range(5)]
    assert states(seen_by(again, later), IDLE) == [RESOLVED]


def test_a_run_that_never_used_its_gpus_is_told_of_later_and_softly(node: AnomalyWatch) -> None:
    signals = seen_by(node, idle_windows(20, busy=0))
    assert signals[0].severity == "info"
    assert signals[0].at_ms == T0 + LIMITS.never_busy_windows * MIN
    assert "never busy" in signals[0].message
    assert "busy_w" not in signals[0].evidence


def test_the_series_of_a_run_is_that_run() -> None:
    watch = AnomalyWatch("run/r/7", MIN)
    signals = seen_by(watch, [replace(one, run_id=None) for one in idle_windows(8)])
    assert [s.run_id for s in signals] == ["r/7"] * 4


# stuck counter


def test_the_same_value_while_utilisation_moves_is_a_stuck_counter(node: AnomalyWatch) -> None:
    windows = [window(n, 141.25, 70.0 + n) for n in range(7)]
    signals = seen_by(node, windows)
    assert [s.state for s in signals] == [RAISED, SEEN, SEEN]
    assert signals[0].evidence == {"power_w": 141.25, "windows": 5, "utilization_moved_pct": 4.0}
    ended = seen_by(node, [window(7, 141.26, 77.0)])
    assert states(ended, STUCK) == [RESOLVED]


@pytest.mark.parametrize(
    "windows",
    [
        [window(n, 141.25, 70.0) for n in range(50)],
        [window(n, 141.25) for n in range(50)],
        [window(n, 141.25 + n % 2 * 1e-6, 50.0 + n) for n in range(40)],
        [window(n, 0.0, 1.0 + n % 2) for n in range(50)],
    ],
    ids=["steady work", "utilisation not known", "last digit moves", "off"],
)
def test_a_constant_series_alone_is_none(node: AnomalyWatch, windows: list[Observation]) -> None:
    assert seen_by(node, windows) == []


def test_the_mean_of_equal_readings_is_the_same_value(node: AnomalyWatch) -> None:
    signals = seen_by(node, [window(n, 141.25 * (1 + n * 1e-15), 60.0 + n) for n in range(6)])
    assert states(signals, STUCK) == [RAISED]


def test_no_energy_while_there_is_work_is_a_stuck_counter(node: AnomalyWatch) -> None:
    signals = seen_by(node, [window(n, 0.0, 80.0) for n in range(5)])
    assert [s.state for s in signals if s.rule == STUCK] == [RAISED, SEEN, SEEN]
    assert "no energy is counted for 3 windows" in signals[0].message


# any input


def numbers(low: float, high: float) -> st.SearchStrategy[float]:
    return st.floats(low, high) | st.sampled_from([0.0, nan, inf, -inf])


@st.composite
def series(draw: st.DrawFn) -> list[tuple[Observation, list[Judged]]]:
    start = 0
    made: list[tuple[Observation, list[Judged]]] = []
    for _ in range(draw(st.integers(0, 60))):
        start += draw(st.sampled_from([1, 1, 1, 1, 1, 2, 10, 0, -3]))
        power = draw(st.sampled_from([100.0, 100.0, 150.0, 150.0, 30.0]) | numbers(-10, 1e6))
        util = draw(st.none() | st.sampled_from([0.0, 1.0, 90.0]) | numbers(0, 100))
        run = draw(st.sampled_from(["a", "a", "a", "a", "b", None]))
        quantiles = draw(st.sampled_from([QUANTILES, (0.0,) * 5, (nan,) * 5]))
        horizons = draw(st.sampled_from([(), (60,), (300,), (60, 300, 900)]))
        one = Observation(T0 + start * MIN, power, util, util, None, run)
        made.append((one, [(h, quantiles, power) for h in horizons]))
    return made


@given(series())
def test_every_anomaly_is_raised_once_and_then_resolved_at_most_once(
    windows: list[tuple[Observation, list[Judged]]],
) -> None:
    watch, opened = AnomalyWatch("node/n1", MIN), dict[str, int]()
    for one, forecasts in windows:
        for signal in watch.observe(one, forecasts):
            if signal.state == RAISED:
                assert signal.rule not in opened
                opened[signal.rule] = signal.since_ms
            assert opened[signal.rule] == signal.since_ms < signal.at_ms
            if signal.state == RESOLVED:
                del opened[signal.rule]
    assert opened == {rule: signal.since_ms for rule, signal in watch.open.items()}


@given(series(), st.integers(0, 60))
def test_a_restart_changes_nothing(windows: list[tuple[Observation, list[Judged]]], at: int) -> None:
    whole, first = AnomalyWatch("node/n1", MIN), AnomalyWatch("node/n1", MIN)
    expected = [whole.observe(*one) for one in windows]
    found = [first.observe(*one) for one in windows[:at]]
    stored = json.dumps(first.to_doc(), allow_nan=False)
    assert len(stored) < 3_000
    again = AnomalyWatch.from_doc("node/n1", MIN, json.loads(stored))
    assert [*found, *(again.observe(*one) for one in windows[at:])] == expected
    assert again.to_doc() == whole.to_doc()


@pytest.mark.parametrize("doc", [{}, {"open": 1}, {"last_ms": 1, "runs": [], "open": {}, "power": {"x": 1}}])
def test_a_state_of_another_version_is_begun_anew(doc: dict[str, object]) -> None:
    watch = AnomalyWatch.from_doc("node/n1", MIN, doc)
    assert watch.to_doc() == AnomalyWatch("node/n1", MIN).to_doc()


def test_windows_that_come_again_change_nothing(node: AnomalyWatch) -> None:
    fed(node, [*QUIET, 150.0, 150.0])
    before = node.to_doc()
    assert fed(node, [150.0, 150.0], first=12) == []
    assert node.to_doc() == before


def test_numbers_of_numpy_are_taken_and_stored_as_plain_ones(node: AnomalyWatch) -> None:
    quantiles, powers = np.array(QUANTILES), np.array([*QUIET, 150, 150, 150, 150])
    found = [
        signal
        for n, power in enumerate(powers)
        for signal in node.observe(window(n, power, power), [(300, quantiles, power)])  # type: ignore[list-item]
    ]
    assert states(found, POWER) == [RAISED]
    power, stuck = node.to_doc()["power"], node.to_doc()["stuck"]
    values = [
        *found[0].evidence.values(),
        *power.pop("recent"),
        *power.pop("errors_w"),
        *power.values(),
        *stuck.values(),
    ]
    assert {type(value) for value in values} <= {float, int, str, bool}
