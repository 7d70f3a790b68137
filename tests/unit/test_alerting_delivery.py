"""Webhook and command: signed, bounded in time, telling no secret, each told whether a later try may succeed."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import sys
import threading
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import psutil
import pytest

from joulestream.alerting.delivery import as_json, delivery_key
from joulestream.alerting.delivery.command import Command
from joulestream.alerting.delivery.webhook import KEY, SIGNATURE, TIMESTAMP, Webhook
from schemas.errors import PipelineError, RetryableError
from tests.receivers import drip, hang, receiver

AT = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)
ALERT: dict[str, Any] = {
    "_id": "budget|b@1|actual-80|2026-01",
    "message": "82 % \N{EM DASH} of 5 kWh",
    "raised_at": AT,
    "evidence": {"actual": 4.1},
    "deliveries": [{"channel": "webhook", "claim": "internal"}],
}
ID = delivery_key(ALERT["_id"], "webhook")


def test_a_post_is_json_signed_over_its_timestamp_and_body() -> None:
    with receiver() as server:
        Webhook(server.url, "s3cret", 5, clock=lambda: 1_769_860_800.7).deliver(ALERT, ID)
    (post,) = server.posts
    assert post.path == "/hook?token=very-secret"
    assert post.said == {
        "id": ALERT["_id"],
        "status": "raised",
        "text": ALERT["message"],
        "message": ALERT["message"],
        "raised_at": "2026-01-31T12:00:00Z",
        "evidence": {"actual": 4.1},
    }
    assert (post.headers[KEY], post.headers[TIMESTAMP]) == (ID, "1769860800")
    expected = hmac.new(b"s3cret", b"1769860800." + post.body, hashlib.sha256).hexdigest()
    assert post.headers[SIGNATURE] == f"sha256={expected}"
    assert post.headers["Content-Type"] == "application/json"


def test_a_post_of_a_resolution_says_so_and_why() -> None:
    over = {
        "state": "resolved",
        "status": "resolved",
        "resolved_because": "the run has ended",
        "resolved_at": AT,
    }
    with receiver() as server:
        Webhook(server.url, None, 5).deliver({**ALERT, **over, "told": "as it was"}, "key")
    said = server.posts[0].said
    assert said["status"] == "resolved"
    assert said["text"] == f"Resolved (the run has ended): {ALERT['message']}"
    assert said["message"] == ALERT["message"]
    assert said["resolved_at"] == "2026-01-31T12:00:00Z"
    assert "told" not in said


def test_without_a_secret_nothing_pretends_to_be_signed() -> None:
    with receiver() as server:
        Webhook(server.url, None, 5).deliver(ALERT, ID)
    assert SIGNATURE not in server.posts[0].headers


@pytest.mark.parametrize("status", [500, 502, 503, 429, 408])
def test_an_answer_that_passes_may_be_tried_again(status: int) -> None:
    with receiver(status) as server, pytest.raises(RetryableError, match=f"answers {status}"):
        Webhook(server.url, "s", 5).deliver(ALERT, ID)


@pytest.mark.parametrize("status", [301, 302, 307, 308, 400, 401, 404, 410])
def test_redirects_are_not_followed_and_refusals_are_final(status: int) -> None:
    with receiver(status) as server, pytest.raises(PipelineError, match=f"answers {status}") as caught:
        Webhook(server.url, "s", 5).deliver(ALERT, ID)
    assert not isinstance(caught.value, RetryableError)
    assert len(server.posts) == 1


@pytest.mark.parametrize("misbehave", [hang, drip], ids=["silent", "byte by byte"])
def test_a_receiver_that_does_not_end_is_left_in_time(misbehave: Any) -> None:
    with receiver(misbehave(3.0)) as server:
        began = time.monotonic()
        with pytest.raises(RetryableError, match=r"does not answer within 0\.4 s"):
            Webhook(server.url, "s", 0.4).deliver(ALERT, ID)
        assert time.monotonic() - began < 1.5


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:1/very-secret",
        "http://very-secret.invalid/very-secret",
        "https://127.0.0.1:1/very-secret",
    ],
)
def test_an_address_that_nobody_answers_is_never_said(url: str) -> None:
    with pytest.raises(RetryableError) as caught:
        Webhook(url, "very-secret", 2).deliver(ALERT, ID)
    assert "very-secret" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("url", ["ftp://very-secret/x", "very-secret", "http://", "http://very-secret:port/"])
def test_an_address_that_is_none_is_refused_at_once_and_not_said(url: str) -> None:
    with pytest.raises(PipelineError, match=r"alerts\.webhook_url") as caught:
        Webhook(url, None, 2)
    assert "very-secret" not in str(caught.value)


def test_a_user_in_the_address_is_sent_as_basic_authorisation() -> None:
    with receiver() as server:
        Webhook(f"http://ada:p%40ss@127.0.0.1:{server.port}/", None, 5).deliver(ALERT, ID)
    assert server.posts[0].headers["Authorization"] == "Basic YWRhOnBAc3M="


def script(tmp_path: Path, text: str) -> str:
    file = tmp_path / "a script.py"
    file.write_text(text)
    return f"{sys.executable} '{file}' 'one argument'"


@pytest.mark.parametrize("status", ["raised", "resolved", "reopened"])
def test_a_command_gets_the_alert_on_its_input_and_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: str
) -> None:
    monkeypatch.setenv("JOULE_ALERTS_WEBHOOK_SECRET", "hidden")
    monkeypatch.setenv("JOULE_MONGODB_URI", "mongodb://u:hidden@h")
    out = tmp_path / "out.json"
    code = (
        "import json, os, sys\n"
        f"said = {{'argv': sys.argv[1:], 'alert': json.load(sys.stdin), 'env': dict(os.environ)}}\n"
        f"open({str(out)!r}, 'w').write(json.dumps(said))\n"
    )
    alert = ALERT if status == "raised" else {**ALERT, "status": status}
    Command(script(tmp_path, code), 20).deliver(alert, ID)
    said = json.loads(out.read_text())
    assert said["argv"] == ["one argument"]
    assert said["alert"] == json.loads(as_json(alert))
    assert (said["alert"]["status"], said["env"]["JOULE_ALERT_STATUS"]) == (status, status)
    assert said["env"]["JOULE_DELIVERY_KEY"] == ID
    assert "hidden" not in said["env"].values()
    assert "JOULE_MONGODB_URI" not in said["env"]


def test_no_shell_reads_the_command(tmp_path: Path) -> None:
    marker = tmp_path / "made"
    Command(f"{sys.executable} -c pass ; touch {marker}", 20).deliver(ALERT, ID)
    assert not marker.exists()


def test_a_command_that_fails_is_tried_again_with_its_last_words(tmp_path: Path) -> None:
    code = "import sys\nsys.stderr.write('x' * 100000 + ' no route')\nsys.exit(3)"
    with pytest.raises(RetryableError, match=r"exit code 3: x+ no route$") as caught:
        Command(script(tmp_path, code), 20).deliver(ALERT, ID)
    assert len(str(caught.value)) < 300


def test_a_command_that_does_not_end_is_killed_with_its_children(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    code = (
        "import os, subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        f"open({str(pids)!r}, 'w').write(f'{{os.getpid()}} {{child.pid}}')\n"
        "time.sleep(60)\n"
    )
    with pytest.raises(RetryableError, match=r"did not end within 2 s and was killed"):
        Command(script(tmp_path, code), 2).deliver(ALERT, ID)
    deadline = time.monotonic() + 5
    for pid in map(int, pids.read_text().split()):
        while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < deadline, f"{pid} lives on"
            time.sleep(0.02)


def test_the_end_of_the_process_ends_a_command(tmp_path: Path) -> None:
    stop = threading.Event()
    threading.Timer(0.3, stop.set).start()
    began = time.monotonic()
    with pytest.raises(RetryableError, match="stopped before"):
        Command(script(tmp_path, "import time\ntime.sleep(60)"), 30, stop).deliver(ALERT, ID)
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    ("line", "problem"),
    [("'open", "quotes"), ("   ", "empty")],
)
def test_a_command_that_is_none_is_refused_at_once(line: str, problem: str) -> None:
    with pytest.raises(PipelineError, match=problem):
        Command(line, 5)


def test_a_program_that_is_not_there_is_final() -> None:
    with pytest.raises(PipelineError, match=r"cannot be started.*alerts\.command") as caught:
        Command(f"{os.sep}no{os.sep}such-program", 5).deliver(ALERT, ID)
    assert not isinstance(caught.value, RetryableError)
