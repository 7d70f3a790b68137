"""What a person is told who asks for what cannot be: one sentence, the right exit code, nothing half done."""

from __future__ import annotations

import re
import sys
import threading
from pathlib import Path

import pytest
from typer.testing import CliRunner

from conf.settings import load_settings
from joulestream import context
from joulestream.cli import app
from joulestream.local.plan import Plan
from joulestream.local.supervisor import Supervisor
from joulestream.output import ERROR, OK, USAGE
from schemas.errors import PipelineError, RetryableError


def test_data_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(PipelineError, match=r"cannot be used .* name another one with --data-dir"):
            context.data_folder(folder)


def test_data_folder_is_made_and_nothing_is_left_of_the_look(tmp_path: Path) -> None:
    assert context.data_folder(tmp_path / "a" / "b") == tmp_path / "a" / "b"
    assert list((tmp_path / "a" / "b").iterdir()) == []


@pytest.mark.parametrize(
    "options", [("--meters", "nonsense"), ("--meters", "simulated:x"), ("--interval", "-1")]
)
def test_track_refuses_a_wrong_option_before_it_runs_the_command(
    tmp_path: Path, options: tuple[str, str]
) -> None:
    sign = tmp_path / "ran"
    done = CliRunner().invoke(app, ["track", *options, "--data-dir", str(tmp_path), "--", "touch", str(sign)])
    assert done.exit_code == USAGE
    assert not sign.exists()


def test_track_ends_with_what_the_run_used_in_units_that_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DATA_DIR", "KAFKA_BOOTSTRAP", "DASHBOARD_URL"):  # the verb sets them for its command
        monkeypatch.setenv(f"JOULE_{name}", "")
        monkeypatch.delenv(f"JOULE_{name}")
    options = ("--meters", "simulated:7", "--data-dir", str(tmp_path), "--kafka-bootstrap", "127.0.0.1:1")
    work = "import time\nwhile time.process_time() < 1: pass"
    done = CliRunner().invoke(app, ["track", *options, "--region", "DE", "--", sys.executable, "-c", work])
    assert done.exit_code == OK
    assert re.search(r"^run \S+: completed, \d[\d.]* (µ|m|)Wh, \d[\d.]* (µ|m|)g CO2e$", done.stderr, re.M)


def test_reset_of_nothing_says_so(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["reset", "--yes", "--data-dir", str(tmp_path)])
    assert done.exit_code == OK
    assert "nothing to delete" in done.stderr


def test_logs_before_the_first_start_say_where_they_come_from(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match=r"there are no logs in .*; ./joule up writes them"):
        CliRunner().invoke(app, ["logs", "--data-dir", str(tmp_path)], catch_exceptions=False)
    assert CliRunner().invoke(app, ["logs", "--data-dir", str(tmp_path)]).exit_code == ERROR


def test_a_start_that_fails_at_a_given_server_does_not_speak_of_stopping(tmp_path: Path) -> None:
    said: list[str] = []
    settings = load_settings({"data_dir": tmp_path, "kafka.bootstrap": "127.0.0.1:1"})
    plan = Plan(settings, {}, None, (), (), None, (), None)
    with pytest.raises(RetryableError, match=r"Kafka at 127.0.0.1:1 does not answer \(waited for"):
        Supervisor(plan, threading.Event(), said.append).run()
    assert said == []
