"""Who is promoted, and by which windows: nothing is judged by what it has learned from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone

import numpy as np
import pytest

from joulestream.verbs.forecasting.train import _followed
from schemas.times import from_ms, to_ms
from spark_jobs.forecast.learning.challenge import Champion, challenge
from spark_jobs.forecast.learning.promotion import (
    CHALLENGER,
    PROMOTED,
    REJECTED,
    Score,
    against_champion,
    decide,
)
from spark_jobs.forecast.learning.training import (
    Table,
    TooLittleError,
    before,
    cut_of,
    enough_for,
    judged,
    table_of,
)
from spark_jobs.forecast.series import Floats, Observation
from tests.unit.test_forecast_registry import manifest

MINUTE = 60_000
START = to_ms(datetime(2026, 3, 1, tzinfo=timezone.utc))


def observations(powers: Sequence[float | None], start_ms: int = START) -> tuple[Observation, ...]:
    """A minute each; None is a gap."""
    return tuple(Observation(start_ms + i * MINUTE, p) for i, p in enumerate(powers) if p is not None)


def saw(n: int) -> list[float]:
    """Up and down between two levels: the next value is known, the last one is always wrong."""
    return [100.0 + 50.0 * (i % 2) for i in range(n)]


@dataclass
class Knows:
    """A model that is off by `off` (W) from the change that it was told for each level of power."""

    off: float
    horizons_s: tuple[int, ...]
    version: str = "test"
    learned: Mapping[int, Floats] = field(default_factory=dict)

    def predict(self, rows: Floats) -> Mapping[int, Floats]:
        return {h: np.tile(np.array([-2, -1, 0, 1, 2.0]) + self.off, (len(rows), 1)) for h in self.horizons_s}


def flat_table(n: int = 1000, horizons_s: tuple[int, ...] = (60,), jump: float = 10.0) -> Table:
    """Every change is `jump`, so a model that says `jump` errs nowhere and the last value errs by it."""
    issued = START + MINUTE * np.arange(1, n + 1, dtype=np.float64)
    changes = {h: np.full(n, jump) for h in horizons_s}
    return Table(
        np.zeros((n, 1)), issued, ("node",) * n, changes, {h: np.full(n, np.nan) for h in horizons_s}
    )


def score(mae: float, naive: float = 10.0, seasonal: float = 20.0) -> Score:
    return Score(100, mae, naive, seasonal, 0.8, 0.9)


def test_changes_are_those_of_the_window_that_ends_a_horizon_later() -> None:
    table = table_of({"node/n": observations([1, 2, 4, 8, None, 32])}, MINUTE, (60, 120))
    np.testing.assert_equal(table.changes[60], [1, 2, 4, np.nan, np.nan])
    np.testing.assert_equal(table.changes[120], [3, 6, np.nan, 24, np.nan])
    assert table.issued_ms.tolist() == [START + MINUTE * (i + 1) for i in (0, 1, 2, 3, 5)]


def test_value_of_the_day_before_is_known_where_it_was_seen() -> None:
    powers = [*([5.0] * 1440), 7.0, 9.0]
    table = table_of({"node/n": observations(powers)}, MINUTE, (60, 172_800))
    assert np.isnan(table.seasonal[60][:1438]).all()
    assert table.seasonal[60][-3:].tolist() == [0.0, -2.0, -4.0]
    assert np.isnan(table.seasonal[172_800]).all()


def test_bad_windows_are_left_out_and_order_does_not_matter() -> None:
    good = observations([1, 2, 4, 8])
    bad = (Observation(START + 9 * MINUTE, float("nan")), Observation(START + 10 * MINUTE, -5.0), good[1])
    table = table_of({"node/n": (*good[::-1], *bad)}, MINUTE, (60,))
    np.testing.assert_equal(table.changes[60], [1, 2, 4, np.nan])


def test_rows_are_bounded_and_reach_over_the_whole_past() -> None:
    table = table_of({"node/n": observations(saw(900)), "run/r": observations(saw(100))}, MINUTE, (60,), 100)
    assert len(table.issued_ms) == 100
    assert table.groups.count("run") == 10
    assert table.issued_ms[-1] == START + 900 * MINUTE


def test_distant_horizons_are_learned_from_rows_that_are_apart() -> None:
    table = table_of({"node/n": observations(saw(3000))}, MINUTE, (60, 900, 3600, 21_600))
    known = {h: np.flatnonzero(np.isfinite(change)) for h, change in table.changes.items()}
    assert {h: set(np.diff(rows).tolist()) for h, rows in known.items()} == {
        60: {1},
        900: {1},
        3600: {5},
        21_600: {15},
    }


def test_what_happens_within_a_horizon_of_the_cut_is_not_learned() -> None:
    table = flat_table(100, (60, 300))
    cut = START + 50 * MINUTE
    past, known = before(table, cut)
    assert past.issued_ms.max() == cut
    assert np.isfinite(known[60]).sum() == 49
    assert np.isfinite(known[300]).sum() == 45


def test_planted_leak_is_caught_by_the_embargo(monkeypatch: pytest.MonkeyPatch) -> None:
    """A target that is known only after the cut never reaches a fit, at any horizon."""
    table = flat_table(2000, (60, 300))
    cut = cut_of(table)
    for change in table.changes.values():
        change[:] = table.issued_ms  # so that what is learned says from when it is
    learned: list[Mapping[int, Floats]] = []

    def fit(rows: Floats, changes: Mapping[int, Floats]) -> Knows:
        learned.append(changes)
        return Knows(0.0, tuple(changes))

    challenge(fit, table, None)
    for horizon, changes in learned[0].items():
        assert np.nanmax(changes) + horizon * 1000 <= cut
    assert np.nanmax(learned[-1][60]) == table.issued_ms[-1]  # the one that serves learns from all


@pytest.mark.parametrize("n", [0, 1, 100, 260])
def test_too_little_past_is_said_and_nothing_is_fitted(n: int) -> None:
    series = {"node/n": observations(saw(n))}
    with pytest.raises(TooLittleError, match=r"expected at least 200 .* let the stream run longer"):
        enough_for(table := table_of(series, MINUTE, (60,)), cut_of(table))


def test_horizon_without_enough_actuals_is_left_out() -> None:
    table = table_of({"node/n": observations(saw(600))}, MINUTE, (60, 21_600))
    assert enough_for(table, cut_of(table)) == (60,)


def test_score_is_of_the_later_part_alone() -> None:
    table = flat_table(1000)
    table.changes[60][:750] = 1e6
    table.changes[60][800] = np.nan
    found = judged(Knows(12.0, (60,)), table, cut_of(table))[60]
    assert (found.n, found.mae_w, found.naive_mae_w) == (249, 2.0, 10.0)
    assert (found.coverage_80, found.coverage_90) == (0.0, 1.0)
    assert found.groups == {"node": pytest.approx(0.2)}


def test_strong_naive_is_the_better_of_last_value_and_day_before() -> None:
    assert score(15.0).strong_mae_w == 10.0
    assert score(15.0, naive=30.0).strong_mae_w == 20.0
    assert score(9.9).wins
    assert not score(10.0).wins


def test_model_that_beats_naive_is_promoted_where_nobody_serves() -> None:
    found = challenge(lambda rows, changes: Knows(9.0, tuple(changes)), flat_table(), None)
    assert found.decision.verdict == PROMOTED
    assert found.decision.served_horizons_s == (60,)
    assert found.scores[60].mae_w == 1.0


def test_model_that_does_not_beat_naive_is_rejected() -> None:
    found = challenge(lambda rows, changes: Knows(25.0, tuple(changes)), flat_table(), None)
    assert found.decision.verdict == REJECTED
    assert found.decision.served_horizons_s == ()
    assert "naive" in found.decision.reason


def test_naive_serves_at_the_horizons_that_are_lost() -> None:
    table = flat_table(1000, (60, 300))
    table.changes[300][:] = 2.0
    found = challenge(lambda rows, changes: Knows(9.0, tuple(changes)), table, None)
    assert found.decision.verdict == PROMOTED
    assert found.decision.served_horizons_s == (60,)
    assert "not at 300 s" in found.decision.reason


def champion(off: float, minutes: int, serves: tuple[int, ...] = (60,)) -> Champion:
    """A model off by so much that learned from the first minutes of the table."""
    last = from_ms(START + minutes * MINUTE)
    data = {"first": last - timedelta(days=1), "last": last}
    return Champion(Knows(off, (60,)), manifest("old", data=data, served_horizons_s=serves))


@pytest.mark.parametrize(
    ("ours", "theirs", "verdict"),
    [
        pytest.param(9.0, 6.0, PROMOTED, id="better than the champion"),
        pytest.param(6.0, 9.0, CHALLENGER, id="worse than the champion"),
        pytest.param(9.0, 9.0, CHALLENGER, id="as good: nothing is changed for nothing"),
        pytest.param(30.0, 40.0, REJECTED, id="better than a bad champion, worse than naive"),
    ],
)
@pytest.mark.parametrize("minutes", [100, 900])
def test_champion_is_to_be_beaten(ours: float, theirs: float, verdict: str, minutes: int) -> None:
    table = flat_table()
    found = challenge(lambda rows, changes: Knows(ours, tuple(changes)), table, champion(theirs, minutes))
    assert found.decision.verdict == verdict


def test_champion_is_compared_on_windows_that_it_has_not_learned_from() -> None:
    table = flat_table()
    table.changes[60][:900] = 9.0  # which the champion knows by heart
    fits: list[float] = []

    def fit(rows: Floats, changes: Mapping[int, Floats]) -> Knows:
        fits.append(np.isfinite(changes[60]).sum())
        return Knows(10.0, tuple(changes))

    found = challenge(fit, table, champion(9.0, 900))
    assert found.versus == 0.0
    assert found.decision.verdict == PROMOTED
    assert fits == [749, 949, 1000]  # judged by the last quarter; by what came since; the one that serves


@pytest.mark.parametrize(
    ("minutes", "fits"),
    [
        pytest.param(900, [(60, 3600), (60,), (60, 3600)], id="the horizons whose actuals have come since"),
        pytest.param(990, [(60, 3600), (60, 3600)], id="none: no forest is grown for nothing"),
    ],
)
def test_only_what_can_be_compared_is_learned_for_it(minutes: int, fits: list[tuple[int, ...]]) -> None:
    table = flat_table(1000, (60, 3600))
    table.changes[3600][900:] = np.nan
    found: list[tuple[int, ...]] = []

    def fit(rows: Floats, changes: Mapping[int, Floats]) -> Knows:
        found.append(tuple(changes))
        return Knows(10.0, tuple(changes))

    challenge(fit, table, champion(25.0, minutes))
    assert found == fits


def test_champion_that_is_too_young_to_be_compared_stays() -> None:
    said: list[str] = []
    found = challenge(
        lambda rows, changes: Knows(10.0, tuple(changes)), flat_table(), champion(25.0, 990), said.append
    )
    assert found.decision.verdict == CHALLENGER
    assert "too few windows since old was trained" in found.decision.reason
    assert said == [
        "learning from the earlier part, to be judged by the later one",
        "error over the naive forecast's: 0.00 at 60 s",
        f"challenger: {found.decision.reason}; learning from all, as it is kept",
    ]


def test_progress_of_a_training_is_said_as_it_comes(capsys: pytest.CaptureFixture[str]) -> None:
    lines = [b'{"progress": "reading the past"}\n', b'{"version": "v1", "promoted": true}\n']
    assert _followed(lines) == {"version": "v1", "promoted": True}
    assert capsys.readouterr().err.split(maxsplit=2) == ["0", "s", "reading the past\n"]
    assert _followed(lines[:1]) is None


def test_a_horizon_that_the_champion_does_not_serve_is_naive_s() -> None:
    ours = {60: score(5.0), 300: score(5.0)}
    theirs = {60: score(5.0), 300: score(1.0)}
    assert against_champion(ours, theirs, (60,)) == pytest.approx(0.75)
    assert against_champion(ours, theirs, (60, 300)) == pytest.approx(3.0)
    assert against_champion(ours, {}, ()) == pytest.approx(0.5)
    assert decide(ours, 0.75, "old").verdict == PROMOTED
