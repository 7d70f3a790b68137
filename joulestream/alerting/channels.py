"""Which channels the settings name, and what the process says of them when it starts."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from datetime import datetime

from conf.settings import Settings
from joulestream.alerting.delivery import Channel
from joulestream.alerting.delivery.command import Command
from joulestream.alerting.delivery.mail import Mail
from joulestream.alerting.delivery.stop import Stop
from joulestream.alerting.delivery.webhook import Webhook
from schemas.times import rfc3339
from spark_jobs.store import Doc

NOT_SET = {"webhook": "alerts.webhook_url", "mail": "alerts.smtp_host", "command": "alerts.command"}


def configured(settings: Settings, stop: threading.Event | None = None) -> Mapping[str, Channel]:
    """The channels of people, by name. Raises PipelineError where a setting cannot be used."""
    alerts = settings.alerts
    channels: dict[str, Channel] = {}
    if alerts.webhook_url is not None:
        secret = None if alerts.webhook_secret is None else alerts.webhook_secret.get_secret_value()
        channels["webhook"] = Webhook(alerts.webhook_url.get_secret_value(), secret, alerts.timeout_s)
    if alerts.smtp_host is not None:
        channels["mail"] = Mail(alerts)
    if alerts.command is not None:
        channels["command"] = Command(alerts.command, alerts.timeout_s, stop)
    return channels


def with_stop(channels: Mapping[str, Channel], settings: Settings) -> Mapping[str, Channel]:
    """And the one that asks runs to stop, which only budgets use."""
    return {**channels, "stop": Stop(settings.kafka)}


def words(settings: Settings) -> list[str]:
    """What is configured, without a secret."""
    alerts = settings.alerts
    signed = "signed" if alerts.webhook_secret else "not signed: set alerts.webhook_secret"
    encrypted = "encrypted" if alerts.smtp_starttls or alerts.smtp_port == 465 else "not encrypted"
    price = (
        f"{alerts.tariff_per_kwh:g} {alerts.currency} per kWh"
        if alerts.tariff_per_kwh is not None
        else "not set"
    )
    return [
        f"webhook    {'on, ' + signed if alerts.webhook_url else 'off (alerts.webhook_url)'}",
        f"mail       {f'on, {encrypted}' if alerts.smtp_host else 'off (alerts.smtp_host)'}",
        f"command    {'on' if alerts.command else 'off (alerts.command)'}",
        f"tariff     {price}",
        f"evaluation every {alerts.every_s:g} s",
    ]


def test_alert(at: datetime) -> Doc:
    """An alert that says only that it is one."""
    return {
        "_id": f"test|all|test|{rfc3339(at)}",
        "rule": "test",
        "severity": "info",
        "state": "open",
        "subject": {"dimension": "all"},
        "message": "This is a test of Joulestream's alerts; nothing happened.",
        "raised_at": at,
    }
