"""Deliveries of alerts as the page shows them: what waits, was sent or given up, and what it is about."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from dashboard.display import NOT_KNOWN
from dashboard.store.alerts import Delivery, to_alert
from dashboard.views.alerts import delivered, sent, state

T0 = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)
ALERT, FOLLOWED, NEXT = T0, T0 + timedelta(minutes=5), T0 + timedelta(minutes=9)
ALERT_SAID, FOLLOWED_SAID, NEXT_SAID = (f"2026-01-01 12:0{n}:00 UTC" for n in (0, 5, 9))


def delivery(state: str, **given: Any) -> Delivery:
    entry = {"channel": "webhook", "state": state, "attempts": 1, **given}
    (made,) = to_alert({"_id": "a", "deliveries": [entry]}).deliveries
    return made


@pytest.mark.parametrize("how", ["pending", "sent", "failed"])
@pytest.mark.parametrize(
    ("about", "said"),
    [
        ({}, ""),
        ({"about": "raised"}, ""),
        ({"about": "resolved"}, " (resolution)"),
        ({"about": "reopened"}, " (opened again)"),
        ({"about": ["resolved"]}, ""),
    ],
)
def test_a_delivery_says_what_it_is_about_where_that_is_not_the_alert(
    how: str, about: dict[str, Any], said: str
) -> None:
    assert state(delivery(how, **about)) == f"{how}{said}"
    assert delivered([delivery(how, **about), delivery("sent")]) == f"webhook {how}{said}, webhook sent"


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        (delivery("pending", next_at=NEXT), f"next try {NEXT_SAID}"),
        (delivery("sent", sent_at=ALERT), ALERT_SAID),
        (delivery("failed"), NOT_KNOWN),
        (
            delivery("pending", about="resolved", sent_at=ALERT, next_at=NEXT),
            f"the alert {ALERT_SAID}; next try {NEXT_SAID}",
        ),
        (
            delivery("pending", about="reopened", sent_at=ALERT, followed_at=FOLLOWED, next_at=NEXT),
            f"the alert {ALERT_SAID}; next try {NEXT_SAID}",
        ),
        (delivery("sent", about="resolved", sent_at=ALERT, followed_at=FOLLOWED), FOLLOWED_SAID),
        (delivery("failed", about="resolved", sent_at=ALERT), f"the alert {ALERT_SAID}"),
    ],
)
def test_the_time_of_the_alert_is_not_taken_for_that_of_its_resolution(entry: Delivery, said: str) -> None:
    assert sent(entry) == said
