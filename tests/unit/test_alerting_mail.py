"""E-mail: nothing is said before the connection is encrypted; a repeated mail has the same Message-ID."""

from __future__ import annotations

import email
import ssl
import subprocess
from datetime import datetime, timezone
from email.policy import default
from pathlib import Path
from typing import Any

import pytest

from conf.ahead import Alerts
from joulestream.alerting.delivery import delivery_key
from joulestream.alerting.delivery.mail import Mail
from schemas.errors import PipelineError, RetryableError
from tests.receivers import mail_server

ALERT: dict[str, Any] = {
    "_id": "budget|b@1|actual-80|2026-01",
    "severity": "warning",
    "message": "82 % \N{EM DASH} used\r\nBcc: everyone@example.org",
    "link": "http://127.0.0.1:8501/budgets",
    "raised_at": datetime(2026, 1, 31, 12, tzinfo=timezone.utc),
}


def settings(port: int, **more: Any) -> Alerts:
    return Alerts(
        **{
            "smtp_host": "localhost",
            "smtp_port": port,
            "mail_from": "joule@example.org",
            "mail_to": "ada@example.org, bob@example.org",
            "timeout_s": 5,
            **more,
        }
    )


@pytest.fixture
def certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """A server's context for the name `localhost`, which this process trusts."""
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    made = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost"
    subprocess.run(
        [*made.split(), "-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(cert)],
        check=True,
        capture_output=True,
    )
    monkeypatch.setenv("SSL_CERT_FILE", str(cert))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    return context


def test_a_mail_goes_to_all_over_an_encrypted_connection(certificate: ssl.SSLContext) -> None:
    with mail_server(certificate) as server:
        mail = Mail(settings(server.port, smtp_user="joule", smtp_password="pass"))
        mail.deliver(ALERT, "key")
        mail.deliver(ALERT, "key")
        mail.deliver(ALERT, "another key")
    assert {line.split()[0].upper() for line in server.commands} == {"EHLO", "STARTTLS"}
    assert any(line.startswith("AUTH") for line in server.encrypted)
    # How the command is spelled is smtplib's own affair, and not the same in every Python.
    to = [line.partition("<")[2] for line in server.encrypted if line.lower().startswith("rcpt")]
    assert to[:2] == ["ada@example.org>", "bob@example.org>"]
    first, second, third = (email.message_from_bytes(text, policy=default) for text in server.mails)
    assert first["Message-ID"] == second["Message-ID"] != third["Message-ID"]
    assert first["Subject"] == "[joulestream warning] 82 % \N{EM DASH} used Bcc: everyone@example.org"
    assert first["Bcc"] is None
    assert first["Auto-Submitted"] == "auto-generated"
    body = first.get_content().replace("\r\n", "\n")
    assert "82 % \N{EM DASH} used Bcc: everyone@example.org\n" in body
    assert "alert: budget|b@1|actual-80|2026-01" in body
    assert "dashboard: http://127.0.0.1:8501/budgets" in body


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (
            {
                "status": "resolved",
                "resolved_at": datetime(2026, 1, 31, 13, tzinfo=timezone.utc),
                "resolved_because": "the run has ended",
            },
            "Resolved (the run has ended): 95 % now",
        ),
        (
            {"status": "reopened", "last_seen_at": datetime(2026, 1, 31, 13, tzinfo=timezone.utc)},
            "Reopened: 95 % now",
        ),
    ],
    ids=["resolved", "reopened"],
)
def test_what_follows_an_alert_is_in_its_thread_though_its_message_changed(
    change: dict[str, Any], line: str
) -> None:
    with mail_server() as server:
        mail = Mail(settings(server.port, smtp_starttls=False))
        mail.deliver(ALERT, delivery_key(ALERT["_id"], "mail"))
        later = {**ALERT, **change, "told": ALERT["message"], "message": "95 % now"}
        for _ in range(2):
            mail.deliver(later, delivery_key(ALERT["_id"], "mail", change["status"], 1))
    first, second, third = (email.message_from_bytes(text, policy=default) for text in server.mails)
    assert second["Subject"] == f"Re: {first['Subject']}"
    assert second["In-Reply-To"] == second["References"] == first["Message-ID"]
    assert second["Message-ID"] == third["Message-ID"] != first["Message-ID"]
    assert first["In-Reply-To"] is None
    assert (second["Date"].datetime - first["Date"].datetime).total_seconds() == 3600
    body = second.get_content().replace("\r\n", "\n")
    assert body.startswith(line)
    assert f"\n{change['status']}: 2026-01-31T13:00:00Z\n" in body


def test_a_long_subject_begins_in_its_own_line(certificate: ssl.SSLContext) -> None:
    with mail_server(certificate) as server:
        told = "Budget b-run: run resnet-20260301-1f3a has used 1.02 of 1 kWh (102 %)."
        Mail(settings(server.port)).deliver({**ALERT, "message": told}, "key")
    assert f"Subject: [joulestream warning] {told}".encode() in server.mails[0].splitlines()


def test_without_starttls_no_word_is_said() -> None:
    with mail_server() as server, pytest.raises(PipelineError, match="STARTTLS") as caught:
        Mail(settings(server.port, smtp_user="joule", smtp_password="pass")).deliver(ALERT, "key")
    assert not isinstance(caught.value, RetryableError)
    assert {line.split()[0].upper() for line in server.commands} == {"EHLO"}


def test_a_certificate_of_another_name_is_refused(certificate: ssl.SSLContext) -> None:
    with mail_server(certificate) as server, pytest.raises(RetryableError, match="SSLCertVerificationError"):
        Mail(settings(server.port, smtp_host="127.0.0.1")).deliver(ALERT, "key")
    assert server.mails == []


def test_a_plain_connection_has_to_be_asked_for() -> None:
    with mail_server() as server:
        Mail(settings(server.port, smtp_starttls=False)).deliver(ALERT, "key")
    assert len(server.mails) == 1


@pytest.mark.parametrize(("code", "again"), [(451, True), (550, True)])
def test_recipients_that_are_refused_may_be_tried_again(code: int, again: bool) -> None:
    with mail_server(refuse=code) as server, pytest.raises(PipelineError) as caught:
        Mail(settings(server.port, smtp_starttls=False)).deliver(ALERT, "key")
    assert isinstance(caught.value, RetryableError) is again


def test_a_server_that_is_away_may_be_tried_again() -> None:
    with pytest.raises(RetryableError, match="does not answer"):
        Mail(settings(1)).deliver(ALERT, "key")


@pytest.mark.parametrize("missing", ["mail_from", "mail_to"])
def test_sender_and_recipients_must_be_known(missing: str) -> None:
    with pytest.raises(PipelineError, match=rf"alerts\.{missing}"):
        Mail(settings(25, **{missing: None}))
