"""The command line: its help is quick, its page is up to date, an error is one sentence."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from joulestream import cli, cli_reference, context, output
from joulestream.local.process import ROOT
from joulestream.verbs.reset import PARTS
from tests.unit.test_local_process import stack_state


def joule(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    import os

    env = {name: value for name, value in os.environ.items() if not name.startswith("JOULE_")}
    return subprocess.run(
        [sys.executable, "-m", "joulestream", *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**env, "COLUMNS": "200", **variables},
        timeout=120,
        check=False,
    )


def test_the_page_of_the_command_line_is_up_to_date() -> None:
    assert cli_reference.FILE.read_text() == cli_reference.page(), "run: python -m joulestream.cli_reference"


def test_help_lists_every_verb_without_importing_any() -> None:
    code = (
        "import sys; from joulestream.cli import app\n"
        "try: app(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'pymongo', 'kafka', 'pyspark', 'streamlit', 'codecarbon', 'pandas'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    assert all(name in done.stdout for name in cli.VERBS)


@pytest.mark.parametrize("name", cli.VERBS)
def test_every_verb_takes_a_data_folder_or_needs_none(name: str) -> None:
    needs_none = {"test", "bench", "simulate", "images", "k8s", "supply"}
    assert (
        "--data-dir" in cli_reference.page().split(f"## `joule {name}`")[1].split("\n## ")[0]
        or name in needs_none
    )


def test_a_wrong_setting_is_a_sentence_and_exit_code_1(tmp_path: Path) -> None:
    done = joule("status", "--data-dir", str(tmp_path), JOULE_STREAM_WINDOW_S="soon")
    assert done.returncode == output.ERROR
    assert done.stdout == ""
    assert done.stderr.startswith("joule: 1 setting(s) are wrong")
    assert "Traceback" not in done.stderr


def test_debug_shows_where(tmp_path: Path) -> None:
    done = joule("status", "--data-dir", str(tmp_path), JOULE_STREAM_WINDOW_S="soon", JOULE_DEBUG="1")
    assert "Traceback" in done.stderr


def test_wrong_usage_is_exit_code_2() -> None:
    assert joule("status", "--no-such-flag").returncode == output.USAGE


def test_status_without_a_stack_is_exit_code_3_and_json_stays_json(tmp_path: Path) -> None:
    done = joule("status", "--json", "--data-dir", str(tmp_path))
    assert done.returncode == output.NOT_RUNNING
    assert json.loads(done.stdout) == {"running": False, "data_dir": str(tmp_path)}


def test_down_without_a_stack_is_no_error(tmp_path: Path) -> None:
    assert joule("down", "--data-dir", str(tmp_path)).returncode == output.OK


def test_logs_name_what_there_is(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "stream.log").write_text("a\nb\nc\n")
    assert joule("logs", "stream", "-n", "2", "--data-dir", str(tmp_path)).stdout == "b\nc\n"
    wrong = joule("logs", "nope", "--data-dir", str(tmp_path))
    assert wrong.returncode == output.ERROR
    assert "expected one of: stream" in wrong.stderr


def test_reset_asks_for_yes_and_keeps_what_is_not_its_own(tmp_path: Path) -> None:
    for part in PARTS[:-1]:
        (tmp_path / part).mkdir()
    (tmp_path / "joulestream.toml").write_text("")
    asked = joule("reset", "--data-dir", str(tmp_path))
    assert asked.returncode == output.USAGE
    assert (tmp_path / "kafka").exists()
    assert joule("reset", "--yes", "--data-dir", str(tmp_path)).returncode == output.OK
    assert sorted(path.name for path in tmp_path.iterdir()) == ["joulestream.toml", "up.lock"]


def test_reset_refuses_servers_that_the_stack_did_not_start(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    done = joule("reset", "--yes", "--data-dir", str(tmp_path), JOULE_MONGODB_URI="mongodb://elsewhere:27017")
    assert done.returncode == output.ERROR
    assert "did not start" in done.stderr
    assert (tmp_path / "store").exists()


def test_verbs_find_the_running_stack_and_flags_and_environment_win(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import psutil

    from joulestream.local.state import write_state

    for name in ("JOULE_KAFKA_BOOTSTRAP", "JOULE_MONGODB_URI", "JOULE_DASHBOARD_URL"):
        monkeypatch.delenv(name, raising=False)
    write_state(tmp_path, stack_state(tmp_path, {}, psutil.Process().create_time()))
    found = context.context(tmp_path)
    assert found.settings.kafka.bootstrap == "127.0.0.1:1"
    assert found.settings.mongodb.uri.get_secret_value() == "mongodb://u:secret@h"
    monkeypatch.setenv("JOULE_KAFKA_BOOTSTRAP", "env:2")
    assert context.context(tmp_path).settings.kafka.bootstrap == "env:2"
    assert context.context(tmp_path, {"kafka.bootstrap": "flag:3"}).settings.kafka.bootstrap == "flag:3"
    write_state(tmp_path, stack_state(tmp_path, {}, 1.0))
    dead = context.context(tmp_path)
    assert (dead.state, dead.settings.mongodb.uri.get_secret_value()) == (None, "mongodb://127.0.0.1:27017")


def test_json_has_times_in_utc_and_tables_show_no_control_characters(
    capsys: pytest.CaptureFixture[str],
) -> None:
    at = datetime(2026, 1, 2, 3, tzinfo=timezone(timedelta(hours=2)))
    output.print_json({"at": at, "raw": b"\xff"})
    assert json.loads(capsys.readouterr().out) == {"at": "2026-01-02T01:00:00Z", "raw": "ff"}
    output.print_table([{"name": "a\x1b[31mb\u202e [bold]", "kwh": None}])
    shown = capsys.readouterr().out
    assert "a\ufffd[31mb\ufffd [bold]" in shown
    assert "\x1b" not in shown
