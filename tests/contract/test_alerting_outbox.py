"""The outbox on a real document server and real receivers: claimed once, retried, bounded, never held up."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from conf.settings import load_settings
from joulestream.alerting import alerts
from joulestream.alerting.delivery import Channel
from joulestream.alerting.delivery.webhook import KEY, SIGNATURE, TIMESTAMP, Webhook, signature
from joulestream.alerting.lanes import PER_CHANNEL, Lanes
from joulestream.alerting.outbox import LEASE_SPARE_S, MAX_ATTEMPTS, Outbox
from joulestream.alerting.service import void
from joulestream.local.ports import any_free
from joulestream.local.process import ROOT, running
from joulestream.local.store import find_document_server, store_service
from schemas.errors import PipelineError, RetryableError
from spark_jobs.store import Address, Db, Doc, Patience, connect, ensure_collections
from tests.alerting import NOW, add_budget, at_once, set_run
from tests.receivers import hang, receiver

pytestmark = pytest.mark.stack


class Noted:
    """A channel that notes what it is given, and fails as told."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.keys: list[str] = []

    def deliver(self, alert: Mapping[str, Any], key: str) -> None:
        self.keys.append(key)
        if self.errors:
            raise self.errors.pop(0)


def put(db: Db, name: str, *channels: str, **more: Any) -> str:
    """An alert as a rule of the stream or a budget raises it."""
    alert = {
        "_id": f"idle_gpu|{name}|1|total",
        "rule": "idle_gpu",
        "state": "open",
        "message": f"about {name}",
        "raised_at": NOW,
        "last_seen_at": NOW,
        "deliveries": alerts.deliveries(channels, NOW),
        **more,
    }
    db.alerts.insert_one(alert)
    return str(alert["_id"])


def entry(db: Db, identity: str, place: int = 0) -> Doc:
    found = db.alerts.find_one({"_id": identity})
    assert found is not None
    return dict(found["deliveries"][place])


def lanes(
    db: Db, channels: Mapping[str, Channel], now: Any = lambda: NOW, fill: tuple[str, ...] = ()
) -> Lanes:
    outbox = Outbox(db, 5.0, random.Random(1))
    return Lanes(outbox, channels, fill, Patience(), now)


def turn(made: Lanes) -> int:
    begun = made.turn()
    made.close(20)
    return begun


def test_a_delivery_is_made_once_and_noted(stream_db: Db) -> None:
    channel = Noted()
    identity = put(stream_db, "a", "webhook")
    made = lanes(stream_db, {"webhook": channel})
    assert [turn(made), turn(made)] == [1, 0]
    assert channel.keys == [f"{identity}|webhook"]
    assert entry(stream_db, identity) == {
        "channel": "webhook",
        "state": "sent",
        "attempts": 1,
        "sent_at": NOW,
        "told": "about a",
    }


def test_a_failure_that_passes_is_tried_later_and_later_with_the_same_key(stream_db: Db) -> None:
    channel = Noted(RetryableError("away"), RetryableError("away"))
    identity = put(stream_db, "a", "webhook")
    clock = [NOW]
    made = lanes(stream_db, {"webhook": channel}, lambda: clock[0])
    waits = []
    for expected in ("pending", "pending", "sent"):
        assert turn(made) == 1
        found = entry(stream_db, identity)
        assert found["state"] == expected
        if expected == "pending":
            assert (found["last_error"], "claim" in found) == ("away", False)
            assert turn(made) == 0  # not before its time
            waits.append((found["next_at"] - clock[0]).total_seconds())
            clock[0] = found["next_at"]
    assert 1 <= waits[0] <= 2 <= waits[1] <= 4
    assert len(channel.keys) == 3
    assert len(set(channel.keys)) == 1
    assert "last_error" not in entry(stream_db, identity)


def test_tries_are_bounded_and_a_person_may_ask_for_more(stream_db: Db) -> None:
    channel = Noted(*[RetryableError(f"away {n}") for n in range(MAX_ATTEMPTS)])
    identity = put(stream_db, "a", "webhook")
    clock = [NOW]
    made = lanes(stream_db, {"webhook": channel}, lambda: clock[0])
    while entry(stream_db, identity)["state"] == "pending":
        clock[0] = entry(stream_db, identity)["next_at"]
        assert turn(made) == 1
    failed = entry(stream_db, identity)
    assert failed == {
        "channel": "webhook",
        "state": "failed",
        "attempts": MAX_ATTEMPTS,
        "last_error": f"away {MAX_ATTEMPTS - 1}",
    }
    clock[0] += timedelta(days=1)
    assert turn(made) == 0
    assert Outbox(stream_db, 5.0).retry(identity, clock[0]) == 1
    assert turn(made) == 1
    assert entry(stream_db, identity)["state"] == "sent"
    assert Outbox(stream_db, 5.0).retry(identity, clock[0]) == 0


@pytest.mark.parametrize(
    ("error", "state"),
    [(PipelineError("refused"), "failed"), (KeyError("very-secret"), "pending")],
    ids=["final", "a defect of ours"],
)
def test_what_cannot_succeed_fails_at_once_and_a_defect_ends_no_lane(
    stream_db: Db, error: Exception, state: str
) -> None:
    identity = put(stream_db, "a", "webhook")
    other = put(stream_db, "b", "webhook")
    turn(lanes(stream_db, {"webhook": Noted(error)}))
    states = {entry(stream_db, i)["state"] for i in (identity, other)}
    assert states == {state, "sent"}
    assert "very-secret" not in str(list(stream_db.alerts.find()))


def test_a_channel_that_is_not_configured_fails_and_says_so(stream_db: Db) -> None:
    identity = put(stream_db, "a", "mail")
    turn(lanes(stream_db, {"webhook": Noted()}))
    found = entry(stream_db, identity)
    assert (found["state"], found["last_error"]) == (
        "failed",
        "channel mail is not configured in the alerts process",
    )


def test_alerts_of_the_stream_get_the_configured_channels_once(stream_db: Db) -> None:
    channels = {"webhook": Noted(), "mail": Noted(), "stop": Noted()}
    empty = put(stream_db, "a")
    own = put(stream_db, "b", "mail")
    resolved = put(stream_db, "c", state="resolved")
    made = lanes(stream_db, channels, fill=("webhook", "mail"))
    assert [turn(made), turn(made)] == [3, 0]
    assert [e["channel"] for e in stream_db.alerts.find_one({"_id": empty})["deliveries"]] == [
        "webhook",
        "mail",
    ]  # type: ignore[index]
    assert channels["webhook"].keys == [f"{empty}|webhook"]
    assert sorted(channels["mail"].keys) == [f"{empty}|mail", f"{own}|mail"]
    assert stream_db.alerts.find_one({"_id": resolved})["deliveries"] == []  # type: ignore[index]
    assert channels["stop"].keys == []


def test_many_processes_make_each_delivery_once(stream_db: Db, stream_address: Address) -> None:
    identities = [put(stream_db, f"a{n}", "webhook", "mail") for n in range(15)]
    channels = {"webhook": Noted(), "mail": Noted()}

    def work(start: Callable[[], object]) -> None:
        db = connect(stream_address)
        made = lanes(db, channels)
        start()
        for _ in range(30):
            turn(made)
        db.client.close()

    at_once(3, work)
    for name, channel in channels.items():
        assert sorted(channel.keys) == sorted(f"{i}|{name}" for i in identities)


def test_a_webhook_that_hangs_holds_no_mail_up(stream_db: Db) -> None:
    identities = [put(stream_db, f"a{n}", "webhook", "mail") for n in range(3 * PER_CHANNEL)]
    mail, release = Noted(), threading.Event()
    with receiver(*[lambda _: void(release.wait(60))] * PER_CHANNEL) as server:
        made = lanes(stream_db, {"webhook": Webhook(server.url, "s", 50.0), "mail": mail})
        until = time.monotonic() + 40
        while len(mail.keys) < len(identities):
            made.turn()
            assert time.monotonic() < until
            time.sleep(0.02)
        assert len(server.wait(PER_CHANNEL)) == PER_CHANNEL
        assert [entry(stream_db, i)["state"] for i in identities] == ["pending"] * len(identities)
        release.set()
        made.close(20)


def test_what_is_tried_again_keeps_nothing_from_its_first_try(stream_db: Db) -> None:
    old = [put(stream_db, f"a{n}", "webhook") for n in range(3)]
    outbox = Outbox(stream_db, 5.0, random.Random(1))
    for found in list(outbox.due(NOW)):
        claim = outbox.claim(*found, NOW)
        assert claim is not None
        outbox.not_sent(claim, "away", True, NOW)
    new = put(stream_db, "b", "webhook", raised_at=NOW + timedelta(milliseconds=500))
    order = [identity for identity, _, _ in outbox.due(NOW + timedelta(seconds=30))]
    assert order[0] == new
    assert sorted(order[1:]) == old


def test_a_claim_whose_process_died_is_tried_again_after_its_lease(stream_db: Db) -> None:
    identity = put(stream_db, "a", "webhook")
    dead = Outbox(stream_db, 5.0)
    ((alert_id, place, found),) = dead.due(NOW)
    claim = dead.claim(alert_id, place, found, NOW)
    assert claim is not None
    assert dead.claim(alert_id, place, found, NOW) is None
    channel = Noted()
    assert turn(lanes(stream_db, {"webhook": channel}, lambda: NOW + timedelta(seconds=LEASE_SPARE_S))) == 0
    later = NOW + timedelta(seconds=5 + LEASE_SPARE_S)
    assert turn(lanes(stream_db, {"webhook": channel}, lambda: later)) == 1
    assert channel.keys == [claim.key]
    # The one that was thought dead comes back with an error: what is sent stays sent.
    dead.not_sent(claim, "late", True, later)
    assert entry(stream_db, identity)["state"] == "sent"


def test_a_success_counts_though_the_lease_was_over(stream_db: Db) -> None:
    identity = put(stream_db, "a", "webhook")
    slow, other = Outbox(stream_db, 5.0), Outbox(stream_db, 5.0)
    (found,) = slow.due(NOW)
    claim = slow.claim(*found, NOW)
    later = NOW + timedelta(seconds=5 + LEASE_SPARE_S)
    (again,) = other.due(later)
    second = other.claim(*again, later)
    assert claim is not None
    assert second is not None
    slow.sent(claim, later)
    other.not_sent(second, "refused as a repeat", False, later)
    assert entry(stream_db, identity)["state"] == "sent"


@contextmanager
def process(address: Address, tmp_path: Path, **variables: str) -> Iterator[subprocess.Popen[str]]:
    """The alerts process, as it is started by a supervisor."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("JOULE_")}
    env |= {
        "JOULE_DATA_DIR": str(tmp_path),
        "JOULE_MONGODB_URI": address.uri,
        "JOULE_MONGODB_DATABASE": address.database,
        "JOULE_MONGODB_TIMEOUT_S": "1",
        "JOULE_ALERTS_EVERY_S": "0.5",
        **variables,
    }
    with (tmp_path / "alerts.log").open("a") as log:
        started = subprocess.Popen(
            [sys.executable, "-m", "joulestream.alerting"], cwd=ROOT, env=env, stderr=log, text=True
        )
    try:
        yield started
    finally:
        started.kill()
        started.wait()


def wait(ready: Any, timeout_s: float = 30.0) -> None:
    until = time.monotonic() + timeout_s
    while not ready():
        assert time.monotonic() < until, "it took too long"
        time.sleep(0.05)


def a_broken_budget(db: Db) -> None:
    add_budget(db, "cap", "run", "r", 5.0)
    set_run(db, "r", 4.1, last_event_at=datetime.now(NOW.tzinfo))


def test_the_process_raises_signs_and_delivers_and_ends_when_asked(
    stream_db: Db, stream_address: Address, tmp_path: Path
) -> None:
    a_broken_budget(stream_db)
    with receiver(500) as server:
        hidden = {"JOULE_ALERTS_WEBHOOK_URL": server.url, "JOULE_ALERTS_WEBHOOK_SECRET": "also-secret"}
        with process(stream_address, tmp_path, **hidden) as one:
            first, second = server.wait(2)[:2]
            wait(lambda: (stream_db.alerts.find_one() or {})["deliveries"][0]["state"] == "sent")
            assert (tmp_path / "logs" / "alerts.ready").exists()
            one.send_signal(signal.SIGTERM)
            assert one.wait(10) == 0
    assert first.body == second.body
    assert first.headers[KEY] == second.headers[KEY]
    for post in (first, second):
        assert post.headers[SIGNATURE] == signature("also-secret", post.headers[TIMESTAMP], post.body)
    log = (tmp_path / "alerts.log").read_text()
    assert "webhook    on, signed" in log
    assert "mail       off (alerts.smtp_host)" in log
    assert "the webhook answers 500" in log
    assert "very-secret" not in log
    assert "also-secret" not in log
    assert "Traceback" not in log


def test_a_process_that_is_killed_while_it_delivers_has_told_it_by_the_same_key(
    stream_db: Db, stream_address: Address, tmp_path: Path
) -> None:
    """At least once: the receiver sees the try of the dead process and one more, under one key."""
    a_broken_budget(stream_db)
    with receiver(hang(20)) as server:
        where = {"JOULE_ALERTS_WEBHOOK_URL": server.url, "JOULE_ALERTS_TIMEOUT_S": "10"}
        with process(stream_address, tmp_path, **where) as one:
            server.wait(1)
            one.kill()
            one.wait()
        assert stream_db.alerts.count_documents({}) == 1
        claimed = (stream_db.alerts.find_one() or {})["deliveries"][0]
        assert (claimed["state"], claimed["attempts"]) == ("pending", 1)
        assert claimed["next_at"] > datetime.now(NOW.tzinfo) + timedelta(seconds=30)
        # Not to wait for the lease: its end is set to now, as time would.
        stream_db.alerts.update_one({}, {"$set": {"deliveries.0.next_at": datetime.now(NOW.tzinfo)}})
        with process(stream_address, tmp_path, **where), process(stream_address, tmp_path, **where):
            wait(lambda: (stream_db.alerts.find_one() or {})["deliveries"][0]["state"] == "sent")
            time.sleep(2)  # two processes, many rounds: nothing more is raised or sent
    assert stream_db.alerts.count_documents({}) == 1
    assert len(server.posts) == 2
    assert len({post.headers[KEY] for post in server.posts}) == 1


def test_a_store_that_is_away_is_waited_for_with_one_line(tmp_path: Path) -> None:
    away = Address.at("mongodb://127.0.0.1:1", "energy_emissions", 1.0)
    with process(away, tmp_path) as one:
        log = tmp_path / "alerts.log"
        wait(lambda: "document store is away" in log.read_text())
        time.sleep(2.5)
        assert one.poll() is None
        one.send_signal(signal.SIGTERM)
        assert one.wait(10) == 0
    assert log.read_text().count("document store is away") == 1
    assert not (tmp_path / "logs" / "alerts.ready").exists()


def test_a_store_that_goes_and_comes_back_costs_no_alert(tmp_path: Path) -> None:
    port = any_free()
    service = store_service(tmp_path, port, find_document_server(), tmp_path / "store.log")
    address = Address.at(f"mongodb://127.0.0.1:{port}", "energy_emissions", 1.0)
    log = tmp_path / "alerts.log"
    with receiver() as server, ExitStack() as stack:
        with running(service):
            db = connect(address)
            ensure_collections(db, load_settings())
            one = stack.enter_context(process(address, tmp_path, JOULE_ALERTS_WEBHOOK_URL=server.url))
            wait(lambda: "the document store answers" in log.read_text())
        wait(lambda: "document store is away" in log.read_text())
        assert one.poll() is None
        with running(service):
            a_broken_budget(db)
            server.wait(1)
            one.send_signal(signal.SIGTERM)
            assert one.wait(10) == 0
            db.client.close()
    text = log.read_text()
    assert (text.count("document store is away"), text.count("document store is back")) == (1, 1)


def test_a_setting_that_cannot_be_used_is_one_sentence_without_its_secret(tmp_path: Path) -> None:
    away = Address.at("mongodb://127.0.0.1:1", "energy_emissions", 1.0)
    with process(away, tmp_path, JOULE_ALERTS_WEBHOOK_URL="very-secret") as one:
        assert one.wait(20) == 1
    text = (tmp_path / "alerts.log").read_text()
    assert text == "alerts: alerts.webhook_url is no http:// or https:// address; correct it\n"
