"""Forecasts of runs beside the stream, on a real document server."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from typing import Any

import pytest
from pymongo.collection import Collection
from pymongo.errors import AutoReconnect

from schemas import documents
from schemas.times import to_ms
from spark_jobs.books import Books
from spark_jobs.forecast.runs import serving as run_serving
from spark_jobs.forecast.runs.serving import RunForecaster
from spark_jobs.store import Db
from tests.run_stream import WINDOW_MS, Event, RunStream, batches, course

ENERGIES = [0.8, *[0.5] * 19]
TOTAL = sum(ENERGIES)


class Life:
    """One process's life: books and a forecaster on a store."""

    def __init__(self, db: Db, epoch: int = 1, **options: Any) -> None:
        self.books = Books(db, epoch, WINDOW_MS)
        self.forecaster = RunForecaster(db, epoch, WINDOW_MS, budget_s=5.0, **options)
        self.books.on_written = self.forecaster.written

    def run(self, stream: RunStream, of_batches: Sequence[Sequence[Event]]) -> list[int]:
        """Batches through the stream; how many forecasts each wrote."""
        written = []
        for batch in of_batches:
            stream.write(self.books, batch)
            written.append(self.forecaster.flush())
        while self.forecaster.flush():
            pass  # entries of history that one turn leaves for the next
        return written


def forecast_of(db: Db, run: str) -> Any:
    return (db[documents.RUN_SUMMARY].find_one({"_id": run}) or {}).get("forecast")


@pytest.mark.parametrize("size", [1, 3, 1000], ids=["one-by-one", "by-three", "all-at-once"])
@pytest.mark.parametrize(
    ("epoch_s", "ticks"), [(7.0, 1), (45.0, 4), (400.0, 1)], ids=["short", "ticks", "long"]
)
def test_epochs_lead_to_the_same_forecast_however_the_batches_are_cut(
    stream_db: Db, size: int, epoch_s: float, ticks: int
) -> None:
    events = course("r", ENERGIES[:10], epoch_s, ticks, total=20, ends=False)
    Life(stream_db).run(RunStream(), batches(events, size))
    found = forecast_of(stream_db, "r")
    assert found["method"] == "epochs"
    assert (found["epoch"], found["total_epochs"]) == (10.0, 20.0)
    assert found["energy_kwh"]["point"] == pytest.approx(TOTAL, rel=0.01)
    assert found["energy_kwh"]["p10"] < TOTAL < found["energy_kwh"]["p90"]
    assert [entry["epoch"] for entry in found["history"]] == list(range(1, 11))
    summary = stream_db[documents.RUN_SUMMARY].find_one({"_id": "r"}) or {}
    whole_s = 2 * epoch_s * (TOTAL / 2 / sum(ENERGIES[:10])) * 10
    lasts_s = (found["finishes_at"]["point"] - summary["started_at"]).total_seconds()
    assert lasts_s == pytest.approx(whole_s, rel=0.01)


def test_a_run_that_ended_knows_how_far_off_its_forecasts_were(stream_db: Db) -> None:
    Life(stream_db).run(RunStream(), batches(course("r", ENERGIES, total=20), 4))
    found = forecast_of(stream_db, "r")
    assert found["actual_energy_kwh"] == pytest.approx(TOTAL)
    assert found["energy_kwh"] == {name: pytest.approx(TOTAL) for name in ("point", "p10", "p90")}
    errors = {entry["epoch"]: entry["error_pct"] for entry in found["history"]}
    assert abs(errors[2]) < 1.0
    assert found["error_pct"] == pytest.approx(sum(map(abs, errors.values())) / len(errors))


def test_a_restart_goes_on_as_if_there_had_been_none(stream_db: Db) -> None:
    parts = batches(course("r", ENERGIES, 7.0, 3, total=20, ends=False), 5)
    stream = RunStream()
    for place, batch in enumerate(parts):
        Life(stream_db, place + 1).run(stream, [batch])
    Life(stream_db, 50).run(RunStream(), [])
    restarted = forecast_of(stream_db, "r")
    stream_db[documents.RUN_SUMMARY].delete_many({})
    stream_db[documents.WINDOWS].delete_many({})
    Life(stream_db, 100).run(RunStream(), parts)
    whole = forecast_of(stream_db, "r")
    assert [mark[:2] for mark in restarted["marks"]] == [mark[:2] for mark in whole["marks"]]
    assert [mark[2] for mark in restarted["marks"]] == pytest.approx(
        [mark[2] for mark in whole["marks"]], rel=0.05
    )
    assert restarted["energy_kwh"]["point"] == pytest.approx(whole["energy_kwh"]["point"], rel=0.01)
    assert [e["epoch"] for e in restarted["history"]] == [e["epoch"] for e in whole["history"]]


def test_marks_from_before_a_restart_are_counted_from_the_windows_where_nobody_stored_them(
    stream_db: Db,
) -> None:
    events = course("r", ENERGIES, 45.0, 3, total=40, ends=False)
    stream = RunStream()
    stream.write(Books(stream_db, 1, WINDOW_MS), events[:-3])  # a stream that does not forecast
    Life(stream_db, 2).run(stream, [events[-3:]])
    found = forecast_of(stream_db, "r")
    assert [mark[0] for mark in found["marks"]] == list(range(1, 21))
    assert found["energy_kwh"]["point"] == pytest.approx(TOTAL + 20 * 0.5, rel=0.02)


def test_a_forecast_that_was_made_stays_as_it_was_made_after_a_restart(stream_db: Db) -> None:
    like = {"model_name": "resnet", "dataset_name": "cifar", "node_id": "n1"}
    events, stream = course("r", ENERGIES[:6], total=20, ends=False, fields=like), RunStream()
    Life(stream_db).run(stream, [events[:4]])
    made = forecast_of(stream_db, "r")["history"]
    others = [course(f"o{i}", [kwh * 1.1 for kwh in ENERGIES], total=20, fields=like) for i in range(4)]
    Life(stream_db, 2).run(stream, others)
    Life(stream_db, 3).run(stream, [events[4:]])
    found = forecast_of(stream_db, "r")
    assert found["history"][: len(made)] == made
    assert [entry["epoch"] for entry in found["history"]] == [1, 2, 3, 4, 5, 6]
    assert found["n_similar"] == 4


def test_more_runs_than_are_remembered_do_no_harm(stream_db: Db, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_serving, "MAX_RUNS", 3)
    life, stream = Life(stream_db), RunStream()
    runs = [course(f"r{i}", ENERGIES[:4], total=20, ends=False) for i in range(6)]
    assert life.run(stream, [[event for run in runs for event in run[:3]]]) == [3]
    assert life.run(stream, [run[3:] for run in runs]) == [1] * 6
    for i in range(6):
        assert forecast_of(stream_db, f"r{i}")["energy_kwh"]["point"] == pytest.approx(TOTAL, rel=0.01)


def test_before_the_first_epoch_ends_similar_runs_speak_and_are_named(stream_db: Db) -> None:
    like = {"model_name": "resnet", "dataset_name": "cifar", "node_id": "n1"}
    life, stream = Life(stream_db), RunStream()
    for number in range(3):
        life.run(stream, [course(f"past-{number}", ENERGIES, total=20, fields=like)])
    life.run(stream, [course("alone", ENERGIES, total=20, ends=False, fields={"model_name": "other"})[:1]])
    begin = course("new", ENERGIES, ticks=50, total=40, ends=False, fields=like)[:3]
    Life(stream_db, 2).run(stream, [begin])  # a fresh process reads what had ended before it began
    found = forecast_of(stream_db, "new")
    assert (found["method"], found["n_similar"]) == ("similar_runs", 3)
    assert "3 similar runs (same model, dataset and node)" in found["note"]
    assert found["energy_kwh"]["point"] == pytest.approx(40 * 0.5, rel=0.02)
    assert forecast_of(stream_db, "alone") is None  # it has sent no energy: nothing is said


def test_without_epochs_and_similar_runs_there_is_no_estimate_and_it_says_so(stream_db: Db) -> None:
    begin = course("new", ENERGIES, ticks=50, total=40, ends=False)[:3]
    Life(stream_db).run(RunStream(), [begin])
    found = forecast_of(stream_db, "new")
    assert found["method"] == "none"
    assert "no similar run" in found["note"]
    assert not {"energy_kwh", "finishes_at", "emissions_kg"} & found.keys()


def test_a_run_of_unknown_length_has_a_rate_says_so_and_is_not_written_again_and_again(stream_db: Db) -> None:
    life, stream = Life(stream_db), RunStream()
    stream.write(life.books, course("r", ENERGIES[:12], ends=False))
    assert [life.forecaster.flush(), life.forecaster.flush()] == [1, 0]
    found = forecast_of(stream_db, "r")
    assert (found["method"], found["per_epoch_kwh"]) == ("rate", pytest.approx(0.5, rel=0.01))
    assert "total_epochs is not known" in found["note"]
    assert "energy_kwh" not in found


def test_emissions_follow_the_runs_own_intensity_and_name_its_source(stream_db: Db) -> None:
    carbon = {"carbon_intensity_g_per_kwh": 400.0, "carbon_intensity_source": "meter of the site"}
    events = course("r", ENERGIES[:10], total=20, ends=False, fields=carbon)
    for event in events[1:]:
        event["emissions_kg"] = event["energy_kwh"] * 0.4
    Life(stream_db).run(RunStream(), [events])
    found = forecast_of(stream_db, "r")
    assert found["emissions_kg"]["point"] == pytest.approx(0.4 * found["energy_kwh"]["point"])
    assert found["emissions_kg"]["source"] == "meter of the site"


def test_a_run_is_written_when_an_epoch_ended_or_time_went_by_and_not_with_every_batch(stream_db: Db) -> None:
    events = course("r", [0.5] * 4, epoch_s=100.0, ticks=100, total=20, ends=False)
    written = Life(stream_db, every_s=30.0).run(RunStream(), batches(events, 10))
    assert sum(written) < 25  # 40 batches: every 30 s, and at each epoch
    assert sum(written) >= 4


def test_the_books_writes_leave_the_forecast_alone_and_a_later_process_is_not_overwritten(
    stream_db: Db,
) -> None:
    events = course("r", ENERGIES, total=20, ends=False)
    life, stream = Life(stream_db), RunStream()
    life.run(stream, [events[:5]])
    stored = forecast_of(stream_db, "r")
    stream.write(life.books, events[5:7])
    assert forecast_of(stream_db, "r") == stored
    stream_db[documents.RUN_SUMMARY].update_one({"_id": "r"}, {"$set": {"writer": 9}})
    life.forecaster.flush()
    assert forecast_of(stream_db, "r") == stored


def test_what_could_not_be_written_is_written_by_the_next_flush(
    stream_db: Db, monkeypatch: pytest.MonkeyPatch
) -> None:
    life, stream = Life(stream_db), RunStream()
    stream.write(life.books, course("r", ENERGIES, total=20))
    with monkeypatch.context() as patch:

        def away(self: Collection[Any], *args: Any, **options: Any) -> None:
            raise AutoReconnect("away")

        patch.setattr(Collection, "bulk_write", away)
        with pytest.raises(AutoReconnect):
            life.forecaster.flush()
    assert forecast_of(stream_db, "r") is None
    assert life.forecaster.flush() == 1
    assert forecast_of(stream_db, "r")["actual_energy_kwh"] == pytest.approx(TOTAL)


def test_many_runs_share_a_budget_of_time_and_none_is_forgotten(stream_db: Db) -> None:
    ticks = count()
    life, stream = Life(stream_db), RunStream()
    # Each look at this clock takes 10 ms.
    clock = lambda: 0.01 * next(ticks)  # noqa: E731
    life.forecaster = RunForecaster(stream_db, 1, WINDOW_MS, budget_s=0.2, clock=clock)
    life.books.on_written = life.forecaster.written
    runs = [course(f"r{i}", ENERGIES[:5], total=20, begin_s=i, ends=False) for i in range(60)]
    for part in (slice(0, 4), slice(4, None)):
        stream.write(life.books, [event for run in runs for event in run[part]])
        written = []
        while forecasts := life.forecaster.flush():
            written.append(forecasts)
        assert max(written) <= 20
        assert sum(written) >= 60
    found = stream_db[documents.RUN_SUMMARY].count_documents({"forecast.epoch": 5.0})
    assert found == 60


def test_a_late_event_after_the_end_moves_the_actual(stream_db: Db) -> None:
    events = course("r", ENERGIES, total=20)
    life, stream = Life(stream_db), RunStream()
    late = events.pop(3)
    life.run(stream, [events])
    assert forecast_of(stream_db, "r")["actual_energy_kwh"] == pytest.approx(TOTAL - 0.5)
    life.run(stream, [[late]])
    assert forecast_of(stream_db, "r")["actual_energy_kwh"] == pytest.approx(TOTAL)
    assert to_ms(forecast_of(stream_db, "r")["issued_at"]) == to_ms(events[-1]["timestamp"])
