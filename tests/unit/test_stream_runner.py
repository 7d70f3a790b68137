"""What a runner does between two batches."""

from __future__ import annotations

from threading import Event
from types import SimpleNamespace
from typing import Any

import pytest

from conf.settings import Settings
from spark_jobs import runner as module
from spark_jobs.runner import Runner
from spark_jobs.sources import SOURCES


class Query:
    """A query of which Spark keeps reports; counts how often all of them are asked for."""

    isActive = True  # noqa: N815 - as Spark calls it

    def __init__(self) -> None:
        self.reports: list[dict[str, Any]] = []
        self.asked = 0

    @property
    def lastProgress(self) -> dict[str, Any] | None:  # noqa: N802
        return self.reports[-1] if self.reports else None

    @property
    def recentProgress(self) -> list[dict[str, Any]]:  # noqa: N802
        self.asked += 1
        return self.reports


@pytest.fixture
def query() -> Query:
    return Query()


@pytest.fixture
def runner(query: Query) -> Runner:
    writer = SimpleNamespace(
        idle=lambda work: work(), generation=None, books=None, lag={}, after_batch=lambda: None
    )
    made = Runner(None, Settings(), SOURCES["node"], None, None, Event(), lambda work: work())  # type: ignore[arg-type]
    made.query, made.writer = query, writer  # type: ignore[assignment]
    made.generation = SimpleNamespace()  # type: ignore[assignment]
    return made


def test_followers_hear_of_repairs_too(monkeypatch: pytest.MonkeyPatch, runner: Runner) -> None:
    done: list[str] = []
    monkeypatch.setattr(module, "run_requests", lambda *_: done.append("repairs"))
    assert runner.writer is not None
    runner.writer.after_batch = lambda: done.append("settled")
    runner.watch()
    assert done == ["repairs", "settled"]


def test_each_report_is_noted_once_and_all_are_asked_for_only_where_one_is_new(
    monkeypatch: pytest.MonkeyPatch, runner: Runner, query: Query
) -> None:
    noted: list[int] = []

    def note(_db: Any, _query: str, _generation: Any, progress: Any) -> dict[str, Any]:
        noted.append(progress["batchId"])
        return {"lag": 0, "lag_by_partition": []}

    monkeypatch.setattr(module, "add_spark_figures", note)
    monkeypatch.setattr(module, "run_requests", lambda *_: None)
    runner.watch()
    query.reports += [{"batchId": n, "timestamp": f"2026-01-01T00:00:0{n}.000Z"} for n in (1, 2)]
    for _ in range(3):
        runner.watch()
    query.reports.append({"batchId": 3, "timestamp": "2026-01-01T00:00:03.000Z"})
    runner.watch()
    assert noted == [1, 2, 3]
    assert query.asked == 2
