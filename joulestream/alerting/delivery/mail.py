"""Alerts as e-mails. Without an encrypted connection (unless the settings forbid one) no word is said."""

from __future__ import annotations

import hashlib
import re
import smtplib
import ssl
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from email.message import EmailMessage
from email.policy import default
from email.utils import format_datetime
from typing import Any

from conf.ahead import Alerts
from joulestream.alerting.delivery import RAISED, delivery_key, status_of, text_of
from joulestream.alerting.delivery.deadline import deadline
from schemas.errors import PipelineError, RetryableError
from schemas.times import rfc3339

IMPLICIT_TLS_PORT = 465  # RFC 8314
SUBJECT_CHARS = 150
# Else a long subject begins in its second line, of which some readers show only the first; 998 is RFC 5322's longest.
UNFOLDED = default.clone(max_line_length=998)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]+")


class Mail:
    """Sends alerts through one mail server. Raises PipelineError where sender or recipients are missing."""

    def __init__(self, settings: Alerts) -> None:
        self._to = [part.strip() for part in (settings.mail_to or "").split(",") if part.strip()]
        self._from = settings.mail_from or settings.smtp_user
        if not settings.smtp_host or not self._to or not self._from:
            raise PipelineError(
                "e-mail needs alerts.smtp_host, alerts.mail_from and alerts.mail_to; set all three"
            )
        self._host, self._settings = settings.smtp_host, settings

    def deliver(self, alert: Mapping[str, Any], key: str) -> None:
        """Send an alert to all recipients; a repeated try has the same Message-ID."""
        message = self._message(alert, key)
        try:
            self._send(message)
        except smtplib.SMTPNotSupportedError:
            raise PipelineError(
                "the mail server offers no STARTTLS or no login; "
                "correct alerts.smtp_port, alerts.smtp_starttls or alerts.smtp_user"
            ) from None
        except smtplib.SMTPAuthenticationError as error:
            raise PipelineError(f"the mail server refuses the login ({error.smtp_code})") from None
        except smtplib.SMTPResponseException as error:
            problem = f"the mail server answers {error.smtp_code}"
            raise (PipelineError if error.smtp_code >= 500 else RetryableError)(problem) from None
        except smtplib.SMTPRecipientsRefused:
            raise RetryableError("the mail server refuses all recipients") from None
        except (OSError, smtplib.SMTPException) as error:
            raise RetryableError(f"the mail server does not answer ({type(error).__name__})") from None

    def _send(self, message: EmailMessage) -> None:
        settings = self._settings
        implicit = settings.smtp_port == IMPLICIT_TLS_PORT
        server: smtplib.SMTP = (
            smtplib.SMTP_SSL(timeout=settings.timeout_s, context=ssl.create_default_context())
            if implicit
            else smtplib.SMTP(timeout=settings.timeout_s)
        )
        try:
            with deadline(settings.timeout_s, lambda: server.sock):
                server._host = self._host  # type: ignore[attr-defined]  # which name STARTTLS verifies
                server.connect(self._host, settings.smtp_port)
                if settings.smtp_starttls and not implicit:
                    server.starttls(context=ssl.create_default_context())
                if settings.smtp_user and settings.smtp_password:
                    server.login(settings.smtp_user, settings.smtp_password.get_secret_value())
                server.send_message(message)
                with suppress(
                    OSError, smtplib.SMTPException
                ):  # it has the mail; how it takes leave is its own
                    server.quit()
        finally:
            server.close()

    def _message(self, alert: Mapping[str, Any], key: str) -> EmailMessage:
        text = text_of(alert)
        told = alert.get("told", alert.get("message", ""))
        message = EmailMessage(UNFOLDED)
        first = _CONTROL.sub(" ", f"[joulestream {alert.get('severity', '')}] {told}")[:SUBJECT_CHARS]
        follows = status_of(alert) != RAISED
        # One thread: the subject of the first mail, and a reference to it (RFC 5322, 3.6.4).
        message["Subject"] = f"Re: {first}" if follows else first
        if follows:
            message["In-Reply-To"] = message["References"] = _message_id(delivery_key(alert["_id"], "mail"))
        message["From"] = self._from
        message["To"] = ", ".join(self._to)
        message["Date"] = format_datetime(_when(alert) if follows else alert["raised_at"])
        message["Message-ID"] = _message_id(key)
        message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no answering machine replies
        lines = [text, "", f"raised: {rfc3339(alert['raised_at'])}", f"alert: {alert['_id']}"]
        if follows:
            lines.insert(3, f"{status_of(alert)}: {rfc3339(_when(alert))}")
        if alert.get("link"):
            lines.append(f"dashboard: {alert['link']}")
        message.set_content("\n".join(_CONTROL.sub(" ", line) for line in lines))
        return message


def _when(alert: Mapping[str, Any]) -> datetime:
    """When an alert last changed."""
    changed: datetime = alert.get("resolved_at") or alert.get("last_seen_at") or alert["raised_at"]
    return changed


def _message_id(key: str) -> str:
    return f"<{hashlib.sha256(key.encode()).hexdigest()[:40]}@joulestream>"
