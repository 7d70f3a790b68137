"""What processes say of themselves: text or JSON, about which run, query and batch, and never a secret."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from conf import logs
from conf.settings import Settings, load_settings
from producers.tracker import Tracker
from schemas.errors import PipelineError
from schemas.times import parse_time
from spark_jobs.generation import Generation, WindowSettings
from spark_jobs.sources import NODE
from spark_jobs.store import Patience
from spark_jobs.writer import BatchWriter
from tests.waiting import until

log = logging.getLogger("joulestream.test")


@pytest.fixture(autouse=True)
def _logging_as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv(logs.JVM_VARIABLE, raising=False)
    root = logging.getLogger()
    level, hooks = root.level, (sys.excepthook, threading.excepthook)
    yield
    os.environ.pop(logs.JVM_VARIABLE, None)
    for handler in [one for one in root.handlers if isinstance(one, logs.Stderr)]:
        root.removeHandler(handler)
    root.setLevel(level)
    logging.captureWarnings(capture=False)
    sys.excepthook, threading.excepthook = hooks


def in_json(**flags: Any) -> Settings:
    settings = load_settings(
        {"logs.format": "json", **{key.replace("__", "."): v for key, v in flags.items()}}
    )
    logs.configure(settings)
    return settings


def said(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_a_line_of_json_has_time_level_logger_and_message(capsys: pytest.CaptureFixture[str]) -> None:
    in_json()
    log.warning("%d rows", 3)
    (line,) = said(capsys)
    assert parse_time(line.pop("time")).tzinfo is not None
    assert line == {"level": "WARNING", "logger": "joulestream.test", "message": "3 rows"}


def test_a_message_of_several_lines_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    in_json()
    log.warning("a\nb \u2028 \x1b[31m")
    (line,) = said(capsys)
    assert line["message"] == "a\nb \u2028 \x1b[31m"


def test_what_is_logged_inside_fields_names_them(capsys: pytest.CaptureFixture[str]) -> None:
    in_json()
    with logs.fields(query="node"), logs.fields(batch=7):
        log.warning("inside")
    log.warning("outside")
    log.warning("of a run", extra={"run": "r1"})
    inside, outside, of_a_run = said(capsys)
    assert (inside["query"], inside["batch"]) == ("node", 7)
    assert not {"query", "batch", "run"} & outside.keys()
    assert of_a_run["run"] == "r1"


def test_a_thread_that_inherits_is_about_the_same_run(capsys: pytest.CaptureFixture[str]) -> None:
    in_json()
    with logs.fields(run="r1"):
        heir = threading.Thread(target=logs.inherit(lambda: log.warning("heir")))
        stranger = threading.Thread(target=lambda: log.warning("stranger"))
    for thread in (heir, stranger):
        thread.start()
        thread.join()
    first, second = said(capsys)
    assert first["run"] == "r1"
    assert "run" not in second


def test_an_error_brings_what_happened(capsys: pytest.CaptureFixture[str]) -> None:
    in_json()
    log.error("it failed", exc_info=PipelineError("no such folder"))
    (line,) = said(capsys)
    assert "PipelineError: no such folder" in line["error"]


@pytest.mark.parametrize("form", ["text", "json"])
def test_no_secret_is_logged(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    secrets = {
        "kafka.password": "kafka-secret",
        "mongodb.uri": "mongodb://writer:p%40ssword@db:27017/?tls=true",
        "exporter.token": "token-secret",
        "alerts.webhook_url": "https://hooks.example/T0/secret-path",
    }
    logs.configure(load_settings({"logs.format": form, "kafka.username": "me", **secrets}))
    log.warning("kafka-secret %s p@ssword", secrets["mongodb.uri"])
    error = PipelineError("token-secret at https://hooks.example/T0/secret-path and amqp://a:other@b")
    log.error("it failed", exc_info=error)
    text = capsys.readouterr().err
    for secret in ("kafka-secret", "p%40ssword", "p@ssword", "token-secret", "secret-path", ":other@"):
        assert secret not in text
    assert "mongodb://writer:***@db:27017/?tls=true" in text


def test_the_address_of_a_store_without_password_can_be_read(capsys: pytest.CaptureFixture[str]) -> None:
    in_json(mongodb__uri="mongodb://db:27017")
    log.warning("mongodb://db:27017 is away")
    assert said(capsys)[0]["message"] == "mongodb://db:27017 is away"


def test_nothing_below_the_level_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(load_settings({"logs.level": "INFO"}), "WARNING")
    log.info("not this")
    logging.getLogger("py4j.clientserver").info("nor this")
    log.warning("this")
    assert [line.rpartition(": ")[2] for line in capsys.readouterr().err.splitlines()] == ["this"]


def test_text_is_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(load_settings())
    log.warning("store is away")
    assert capsys.readouterr().err.endswith(" WARNING joulestream.test: store is away\n")


@pytest.mark.parametrize("form", ["json", "yaml"])
def test_before_the_settings_the_environment_counts_and_a_wrong_value_is_text(
    form: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("JOULE_LOGS_FORMAT", form)
    logs.begin()
    logs.fail("stream", PipelineError("a setting is wrong"))
    text = capsys.readouterr().err
    if form == "json":
        line = json.loads(text)
        assert (line["level"], line["logger"], line["message"]) == ("ERROR", "stream", "a setting is wrong")
    else:
        assert text == "stream: a setting is wrong\n"


def test_what_a_batch_logs_names_its_query_and_number(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    in_json()
    generation = Generation(None, "node", 2, {}, WindowSettings(60, 60), None, first_batch=40)  # type: ignore[arg-type]
    writer = BatchWriter(None, NODE, generation, None, threading.Event(), Patience())  # type: ignore[arg-type]
    monkeypatch.setattr(BatchWriter, "_run", lambda _writer, _frame, _batch: log.warning("in a batch"))
    writer(None, 3)  # type: ignore[arg-type]
    (line,) = said(capsys)
    assert (line["query"], line["batch"]) == ("node", 43)


def test_what_the_threads_of_a_run_log_names_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("JOULE_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("JOULE_KAFKA_BOOTSTRAP", "127.0.0.1:1")
    in_json()
    lines: list[dict[str, Any]] = []

    def away() -> list[dict[str, Any]]:
        lines.extend(
            json.loads(line) for line in capsys.readouterr().err.splitlines() if line.startswith("{")
        )
        return [line for line in lines if "events are kept" in line["message"]]

    with Tracker(run_id="r-17", meters="simulated:1", close_timeout_s=0.2) as run:
        run._complain("the tracker failed", RuntimeError("boom"))
        until(away)
    assert [line["run"] for line in away()] == ["r-17"], "the publisher is a thread of its own"
    assert [line["run"] for line in lines if line["message"] == "the tracker failed"] == ["r-17"]


def test_the_jvm_that_a_process_starts_logs_in_json_too() -> None:
    in_json()
    named = Path(os.environ[logs.JVM_VARIABLE])
    (template,) = [
        line.partition(" = ")[2] for line in named.read_text().splitlines() if "eventTemplate" in line
    ]
    assert [*json.loads(template)] == ["time", "level", "logger", "message", "error"]
    assert logs.JVM_FILE.with_name("log4j2.properties").is_file()


def test_text_leaves_the_jvm_alone() -> None:
    logs.configure(load_settings())
    assert logs.JVM_VARIABLE not in os.environ


MAINS = {
    "spark_jobs.stream": ("spark_jobs.stream", [[]]),
    "spark_jobs.reconcile": ("reconcile", [[]]),
    "spark_jobs.forecast.retrain": ("retrain", [[]]),
    "producers.node_agent": ("node agent", []),
    "joulestream.alerting.service": ("alerts", []),
    "joulestream.exporter.__main__": ("exporter", []),
}


@pytest.mark.parametrize("module", MAINS)
def test_every_process_says_in_json_why_it_cannot_begin(
    module: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr("os.nice", lambda _by: 0)
    monkeypatch.setenv("JOULE_LOGS_FORMAT", "json")
    monkeypatch.setenv("JOULE_KAFKA_RETENTION_DAYS", "no number")
    logger, arguments = MAINS[module]
    assert import_module(module).main(*arguments) == 1
    (line,) = said(capsys)
    assert (line["level"], line["logger"]) == ("ERROR", logger)
    assert "kafka.retention_days" in line["message"]


@pytest.mark.parametrize("form", ["text", "json"])
def test_how_a_job_goes_is_told_whatever_the_level(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(load_settings({"logs.format": form}), "ERROR")
    logs.tell("topics", "waiting for mongodb://me:secret@db")
    text = capsys.readouterr().err
    if form == "json":
        line = json.loads(text)
        assert (line["level"], line["logger"]) == ("INFO", "topics")
        text = f"topics: {line['message']}\n"
    assert text == "topics: waiting for mongodb://me:***@db\n"


def test_what_nobody_catches_is_an_object_too(tmp_path: Path) -> None:
    code = (
        "from conf import logs; logs.begin(); import threading, warnings; warnings.warn('old');"
        "t = threading.Thread(target=lambda: 1 / 0); t.start(); t.join(); [][0]"
    )
    env = {"JOULE_LOGS_FORMAT": "json", "JOULE_DATA_DIR": str(tmp_path), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env=env, check=False
    )
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert [line["level"] for line in lines] == ["WARNING", "CRITICAL", "CRITICAL"]
    assert "ZeroDivisionError" in lines[1]["error"]
    assert "IndexError" in lines[2]["error"]
