"""Followers get their turn also where no batch comes."""

from __future__ import annotations

from threading import Event
from types import SimpleNamespace
from typing import Any

import pytest

from conf.settings import Settings
from spark_jobs import runner as module
from spark_jobs.runner import Runner
from spark_jobs.sources import SOURCES


class Counting:
    """A follower that counts its turns."""

    def __init__(self) -> None:
        self.turns = 0

    def written(self, collection: str, docs: Any) -> None:
        """Nothing to note."""

    def flush(self) -> None:
        self.turns += 1

    def close(self) -> None:
        """Nothing to end."""


def test_what_followers_put_off_is_done_without_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s, follower = [100.0], Counting()
    monkeypatch.setattr(module.time, "monotonic", lambda: now_s[0])
    query = SimpleNamespace(isActive=True, recentProgress=())
    writer = SimpleNamespace(idle=lambda work: work(), generation=None, books=None)
    runner = Runner(None, Settings(), SOURCES["node"], None, None, Event(), lambda work: None)  # type: ignore[arg-type]
    runner.query, runner.writer, runner.followers = query, writer, [follower]  # type: ignore[assignment]
    runner.watch()
    assert follower.turns == 1
    now_s[0] += module.IDLE_S / 2
    runner.watch()
    assert follower.turns == 1
    now_s[0] += module.IDLE_S
    runner.watch()
    assert follower.turns == 2
