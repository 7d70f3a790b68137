"""Resolutions in the outbox: told once to the channels that sent the alert, after it and never without it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from joulestream.alerting import alerts
from joulestream.alerting.delivery.webhook import KEY
from joulestream.alerting.lanes import Lanes
from joulestream.alerting.outbox import LEASE_SPARE_S, MAX_ATTEMPTS, NEWS_FOR, STEADY, Outbox
from schemas.errors import RetryableError
from spark_jobs.store import Address, Db, Patience, connect
from tests.alerting import NOW, at_once
from tests.contract.test_alerting_outbox import Noted, a_broken_budget, entry, process, put, turn, wait
from tests.receivers import hang, receiver

pytestmark = pytest.mark.stack

LATER = NOW + STEADY


class Clock:
    """The time, as the test says."""

    def __init__(self, at: datetime = NOW) -> None:
        self.at = at

    def __call__(self) -> datetime:
        return self.at


class Listening(Noted):
    """A channel that notes what it is told of each alert, too."""

    def __init__(self, *errors: Exception) -> None:
        super().__init__(*errors)
        self.told: list[str] = []

    def deliver(self, alert: Any, key: str) -> None:
        super().deliver(alert, key)
        self.told.append(alert["status"])


def lanes(db: Db, clock: Clock, tell: bool = True, **channels: Noted) -> Lanes:
    return Lanes(Outbox(db, 5.0), channels, tuple(channels), Patience(), clock, tell)


def test_a_resolution_is_told_once_after_it_has_stood(stream_db: Db) -> None:
    clock, webhook, mail = Clock(), Listening(), Listening()
    identity = put(stream_db, "a", "webhook")
    made = lanes(stream_db, clock, webhook=webhook, mail=mail)
    turn(made)
    assert alerts.resolve(stream_db, identity, "over", NOW)
    clock.at = LATER - timedelta(seconds=1)
    assert turn(made) == 0
    clock.at = LATER
    assert [turn(made), turn(made)] == [1, 0]
    clock.at = LATER + timedelta(hours=1)
    assert turn(made) == 0
    assert webhook.told == ["raised", "resolved"]
    assert webhook.keys == [f"{identity}|webhook", f"{identity}|webhook|resolved-1"]
    assert mail.told == []  # it did not send the alert
    assert entry(stream_db, identity) == {
        "channel": "webhook",
        "state": "sent",
        "attempts": 1,
        "sent_at": NOW,
        "told": "about a",
        "about": "resolved",
        "follow_ups": 1,
        "followed_at": LATER,
    }


def test_a_resolution_waits_for_its_alert(stream_db: Db) -> None:
    clock, webhook = Clock(), Listening(RetryableError("away"), RetryableError("away"))
    identity = put(stream_db, "a", "webhook")
    made = lanes(stream_db, clock, webhook=webhook)
    turn(made)
    alerts.resolve(stream_db, identity, "over", NOW)
    for _ in range(4):
        clock.at = max(LATER, entry(stream_db, identity).get("next_at", LATER))
        turn(made)
    assert webhook.told == ["raised", "resolved"]
    assert webhook.keys[:3] == [f"{identity}|webhook"] * 3


def test_a_resolution_is_not_told_where_the_alert_was_given_up_until_a_person_retries(stream_db: Db) -> None:
    clock, webhook = Clock(), Listening(*[RetryableError("away")] * MAX_ATTEMPTS)
    identity = put(stream_db, "a", "webhook")
    made = lanes(stream_db, clock, webhook=webhook)
    alerts.resolve(stream_db, identity, "over", NOW)
    while entry(stream_db, identity)["state"] == "pending":
        clock.at = entry(stream_db, identity)["next_at"]
        turn(made)
    clock.at += STEADY
    assert turn(made) == 0
    assert webhook.told == []
    Outbox(stream_db, 5.0).retry(identity, clock.at)
    assert [turn(made), turn(made), turn(made)] == [1, 1, 0]
    assert webhook.told == ["raised", "resolved"]


def test_a_target_that_is_away_gets_the_resolution_when_it_is_back(stream_db: Db) -> None:
    clock, webhook = Clock(), Listening()
    identity = put(stream_db, "a", "webhook")
    made = lanes(stream_db, clock, webhook=webhook)
    turn(made)
    alerts.resolve(stream_db, identity, "over", NOW)
    webhook.errors = [RetryableError("away") for _ in range(3)]
    clock.at = LATER
    for tries in range(1, 5):
        assert turn(made) == 1
        found = entry(stream_db, identity)
        assert found["attempts"] == tries
        assert (found["state"], found.get("last_error")) == (
            ("sent", None) if tries == 4 else ("pending", "away")
        )
        clock.at = found.get("next_at", clock.at)
    assert webhook.told == ["raised", "resolved"]
    assert set(webhook.keys[1:]) == {f"{identity}|webhook|resolved-1"}


def test_an_alert_that_opens_again_at_once_is_not_said_to_be_resolved(stream_db: Db) -> None:
    clock, webhook = Clock(), Listening()
    identity = put(stream_db, "a", "webhook")
    made = lanes(stream_db, clock, webhook=webhook)
    turn(made)
    alerts.resolve(stream_db, identity, "below", NOW)
    clock.at = LATER
    Outbox(stream_db, 5.0).follow(["webhook"], LATER)  # it is due, and the alert opens before it is taken
    alerts.reopen(stream_db, identity, "below", LATER)
    assert turn(made) == 0
    alerts.resolve(stream_db, identity, "below", LATER)
    assert turn(made) == 1
    assert webhook.told == ["raised", "resolved"]


def test_who_was_told_a_resolution_is_told_that_the_alert_is_open_again(stream_db: Db) -> None:
    clock, webhook = Clock(), Listening()
    identity = put(stream_db, "a", "webhook")
    made = lanes(stream_db, clock, webhook=webhook)
    turn(made)
    for _ in range(2):
        alerts.resolve(stream_db, identity, "below", clock.at)
        clock.at += STEADY
        turn(made)
        alerts.reopen(stream_db, identity, "below", clock.at)
        assert [turn(made), turn(made)] == [1, 0]
    assert webhook.told == ["raised", "resolved", "reopened", "resolved", "reopened"]
    assert len(set(webhook.keys)) == 5


@pytest.mark.parametrize("tell", [True, False], ids=["on", "off"])
def test_resolutions_can_be_switched_off(stream_db: Db, tell: bool) -> None:
    clock, webhook = Clock(), Listening()
    identity = put(stream_db, "a", "webhook")
    made = lanes(stream_db, clock, tell, webhook=webhook)
    turn(made)
    alerts.resolve(stream_db, identity, "over", NOW)
    clock.at = LATER
    assert turn(made) == tell
    assert webhook.told == ["raised", "resolved"][: 1 + tell]


def test_neither_runs_are_stopped_nor_old_news_told_by_a_resolution(stream_db: Db) -> None:
    clock, webhook, stop = Clock(), Listening(), Listening()
    fresh, old = put(stream_db, "a", "webhook", "stop"), put(stream_db, "b", "webhook")
    made = Lanes(Outbox(stream_db, 5.0), {"webhook": webhook, "stop": stop}, ("webhook",), Patience(), clock)
    turn(made)
    alerts.resolve(stream_db, fresh, "over", NOW)
    alerts.resolve(stream_db, old, "over", NOW - NEWS_FOR)
    clock.at = LATER
    turn(made)
    assert stop.told == ["raised"]
    assert webhook.keys[2:] == [f"{fresh}|webhook|resolved-1"]


def test_many_processes_tell_each_resolution_once(stream_db: Db, stream_address: Address) -> None:
    clock, webhook, mail = Clock(), Listening(), Listening()
    identities = [put(stream_db, f"a{n}", "webhook", "mail") for n in range(10)]
    made = lanes(stream_db, clock, webhook=webhook, mail=mail)
    while turn(made):
        pass
    for identity in identities:
        alerts.resolve(stream_db, identity, "over", NOW)
    clock.at = LATER

    def work(start: Callable[[], object]) -> None:
        db = connect(stream_address)
        other = lanes(db, clock, webhook=webhook, mail=mail)
        start()
        for _ in range(20):
            turn(other)
        db.client.close()

    at_once(3, work)
    for name, channel in (("webhook", webhook), ("mail", mail)):
        assert sorted(channel.keys[10:]) == sorted(f"{i}|{name}|resolved-1" for i in identities)


def test_the_late_note_of_an_alert_is_not_taken_for_its_resolution(stream_db: Db) -> None:
    identity = put(stream_db, "a", "webhook")
    slow, other = Outbox(stream_db, 5.0), Outbox(stream_db, 5.0)
    first = slow.claim(*next(slow.due(NOW)), NOW)
    after_lease = NOW + timedelta(seconds=5 + LEASE_SPARE_S)
    second = other.claim(*next(other.due(after_lease)), after_lease)
    assert first is not None
    assert second is not None
    other.sent(second, after_lease)
    alerts.resolve(stream_db, identity, "over", NOW)
    assert other.follow(["webhook"], after_lease) == 1
    slow.sent(first, after_lease)
    assert entry(stream_db, identity)["state"] == "pending"


def resolved_long_ago(db: Db) -> None:
    """End the alert's run as it stands, as if a minute had passed since."""
    at = datetime.now(NOW.tzinfo) - STEADY
    ended = {"state": "resolved", "resolved_at": at, "resolved_because": "the run has ended"}
    db.alerts.update_one({}, {"$set": ended})


def first(db: Db) -> Any:
    return (db.alerts.find_one() or {"deliveries": [{}]})["deliveries"][0]


def test_a_process_that_is_killed_around_a_resolution_leaves_it_to_the_next(
    stream_db: Db, stream_address: Address, tmp_path: Path
) -> None:
    """Killed before the resolution was due, and again while it was delivered: told by one key, after the alert."""
    a_broken_budget(stream_db)
    with receiver(204, hang(20)) as server:
        where = {"JOULE_ALERTS_WEBHOOK_URL": server.url, "JOULE_ALERTS_TIMEOUT_S": "10"}
        with process(stream_address, tmp_path, **where):
            wait(lambda: first(stream_db).get("state") == "sent")
        stream_db.budgets.delete_many({})
        resolved_long_ago(stream_db)  # written; nobody lives who could have told it
        with process(stream_address, tmp_path, **where):
            server.wait(2)
        claimed = first(stream_db)
        assert (claimed["about"], claimed["state"], claimed["attempts"]) == ("resolved", "pending", 1)
        # Not to wait for the lease: its end is set to now, as time would.
        stream_db.alerts.update_one({}, {"$set": {"deliveries.0.next_at": datetime.now(NOW.tzinfo)}})
        with process(stream_address, tmp_path, **where), process(stream_address, tmp_path, **where):
            wait(lambda: first(stream_db).get("state") == "sent")
    said = [(post.said["status"], post.headers[KEY].rpartition("|")[2]) for post in server.posts]
    assert said == [("raised", "webhook"), ("resolved", "resolved-1"), ("resolved", "resolved-1")]


def test_the_process_tells_nothing_where_the_settings_say_so(
    stream_db: Db, stream_address: Address, tmp_path: Path
) -> None:
    a_broken_budget(stream_db)
    with receiver() as server:
        where = {"JOULE_ALERTS_WEBHOOK_URL": server.url, "JOULE_ALERTS_TELL_RESOLVED": "false"}
        with process(stream_address, tmp_path, **where):
            wait(lambda: first(stream_db).get("state") == "sent")
            stream_db.budgets.delete_many({})
            resolved_long_ago(stream_db)
            identity = put(stream_db, "next", "webhook")
            wait(lambda: entry(stream_db, identity)["state"] == "sent")
    assert [post.said["status"] for post in server.posts] == ["raised", "raised"]
