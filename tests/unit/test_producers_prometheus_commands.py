"""The verb and the main: what they refuse, and with which exit code and sentence."""

from __future__ import annotations

import json
import signal
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from joulestream.cli import app
from producers.prometheus import __main__ as main_module
from producers.prometheus import pulse, serving
from producers.prometheus.ingest import Counts
from schemas.errors import PipelineError
from schemas.times import to_ms


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOULE_DATA_DIR", str(tmp_path))
    monkeypatch.delenv("JOULE_PROMETHEUS_URL", raising=False)
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # this process keeps its own


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What the verb asks for, which is not done."""
    found: list[tuple[Any, ...]] = []

    def backfill(settings: Any, start: datetime, end: datetime, told: Any) -> Counts:
        found.append((settings.prometheus.url, settings.prometheus.match, start, end))
        told(to_ms(end))
        return Counts(samples=7, nodes=2, through_ms=to_ms(end))

    monkeypatch.setattr(serving, "backfill", backfill)
    monkeypatch.setattr(serving, "serve", lambda settings, stop: found.append((settings.prometheus.url,)))
    return found


def test_a_range_is_read_once_and_counted(asked: list[tuple[Any, ...]]) -> None:
    options = ["--from", "2026-01-01", "--to", "2026-01-02T12:00:00Z", "--match", 'cluster="a"', "--json"]
    done = CliRunner().invoke(app, ["ingest", "--prometheus-url", "http://p:9090", *options])
    assert done.exit_code == 0
    start = datetime(2026, 1, 1, tzinfo=timezone.utc)
    assert asked == [("http://p:9090", 'cluster="a"', start, start + timedelta(hours=36))]
    assert json.loads(done.stdout) == {
        "from": "2026-01-01T00:00:00Z",
        "through": "2026-01-02T12:00:00Z",
        "nodes": 2,
        "samples": 7,
    }


def test_without_a_range_it_reads_on(asked: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOULE_PROMETHEUS_URL", "http://p:9090")
    assert CliRunner().invoke(app, ["ingest"]).exit_code == 0
    assert asked == [("http://p:9090",)]


@pytest.mark.parametrize(
    "options",
    [["--to", "now"], ["--from", "2026-01-02", "--to", "2026-01-01"], ["--from", "yesterday"]],
    ids=" ".join,
)
def test_a_range_that_is_none_is_wrong_usage(asked: list[tuple[Any, ...]], options: list[str]) -> None:
    assert CliRunner().invoke(app, ["ingest", *options]).exit_code == 2
    assert asked == []


def test_without_a_server_the_verb_says_what_to_set() -> None:
    done = CliRunner().invoke(app, ["ingest", "--from", "1h"])
    assert isinstance(done.exception, PipelineError)
    assert "JOULE_PROMETHEUS_URL" in str(done.exception)


def test_without_a_server_the_process_ends_with_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main_module.main() == 1
    assert "JOULE_PROMETHEUS_URL" in capsys.readouterr().err


def test_the_probe_says_why(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert pulse.main(["ready"]) == 1
    assert "nothing has been read yet" in capsys.readouterr().err
    pulse.touch(tmp_path / "prometheus-ingest.json", "ready")
    assert pulse.main(["ready"]) == 0
    assert pulse.main(["well"]) == 2
