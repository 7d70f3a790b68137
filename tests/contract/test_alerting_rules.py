"""Alerts on a real document server: raised once whoever evaluates, resolved when over, each with its reason."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from pymongo import MongoClient, monitoring

from joulestream.alerting import alerts, budgets
from joulestream.alerting import rules as rules_module
from joulestream.alerting.rules import BELOW, PERIOD_OVER, REMOVED, RUN_OVER
from spark_jobs.store import Address, Db, Doc, connect
from tests.alerting import (
    NOW,
    add_budget,
    at_once,
    ends_at,
    rules,
    set_run,
    set_windows,
    stages_of,
    window,
)
from tests.documentation import names_in, rows, section, text_of

pytestmark = pytest.mark.stack


class Commands(monitoring.CommandListener):
    """Names of the commands that were sent."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        self.names.append(event.command_name)

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        """Nothing to note."""

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        """Nothing to note."""


def only(db: Db) -> Doc:
    (found,) = db.alerts.find()
    return dict(found)


def because(db: Db) -> dict[tuple[str, int], str | None]:
    return {(a["basis"], a["stage_pct"]): a.get("resolved_because") for a in db.alerts.find()}


def test_an_alert_says_all_that_led_to_it(stream_db: Db) -> None:
    add_budget(stream_db, "cap", "run", "r", 5.0, channels=("mail", "command"))
    set_run(stream_db, "r", 4.1)
    done = rules(stream_db).round(NOW)
    alert = only(stream_db)
    assert done.raised == (alert["_id"],)
    assert alert["_id"].startswith("budget|cap@")
    assert alert["_id"].endswith("|actual-80|total")
    assert (alert["rule"], alert["severity"], alert["state"]) == ("budget", "warning", "open")
    assert (alert["budget"], alert["stage_pct"], alert["basis"], alert["period"]) == (
        "cap",
        80,
        "actual",
        "total",
    )
    assert alert["subject"] == {"dimension": "run", "key": "r"}
    assert alert["passed"] == [50]
    assert alert["message"] == "Budget cap: run r has used 4.1 of 5 kWh (82 %)."
    assert alert["evidence"]["actual"] == 4.1
    assert alert["link"].endswith("/run?run=r")
    assert alert["raised_at"] == alert["last_seen_at"] == NOW
    assert "resolved_at" not in alert
    assert alert["deliveries"] == [
        {"channel": name, "state": "pending", "attempts": 0, "next_at": NOW} for name in ("mail", "command")
    ]


def test_each_stage_is_raised_once_however_often_it_is_looked_at(stream_db: Db) -> None:
    add_budget(stream_db, "cap", "run", "r", 10.0)
    for step, (kwh, expected) in enumerate(
        [
            (4.9, set()),
            (5.0, {("actual", 50)}),
            (7.9, {("actual", 50)}),
            (9.5, {("actual", 50), ("actual", 90)}),  # 80 is passed with 90
            (9.6, {("actual", 50), ("actual", 90)}),
            (12.0, {("actual", 50), ("actual", 90), ("actual", 100)}),
        ]
    ):
        set_run(stream_db, "r", kwh)
        for _ in range(2):
            rules(stream_db).round(NOW + timedelta(seconds=step))  # a new process each time
        assert stages_of(stream_db) == expected
    assert stages_of(stream_db, "open") == expected
    assert stream_db.alerts.find_one({"stage_pct": 100})["severity"] == "critical"  # type: ignore[index]


def test_many_evaluators_at_once_raise_each_alert_once(stream_db: Db, stream_address: Address) -> None:
    names = [f"b{n}" for n in range(4)]
    for name in names:
        add_budget(stream_db, name, "run", "r", 10.0)
    set_run(stream_db, "r", 9.5, forecast=ends_at(11.0, 10.0, 12.0, NOW + timedelta(hours=1)))
    raised: list[str] = []

    def work(start: Callable[[], object]) -> None:
        db = connect(stream_address)
        made = rules(db)
        start()
        for second in range(3):
            raised.extend(made.round(NOW + timedelta(seconds=second)).raised)
        db.client.close()

    at_once(4, work)
    assert len(raised) == len(set(raised)) == 2 * len(names)
    assert {a["_id"] for a in stream_db.alerts.find()} == set(raised)
    assert stages_of(stream_db) == {("actual", 90), ("forecast", 100)}


def test_a_forecast_is_an_alert_before_anything_is_spent(stream_db: Db) -> None:
    add_budget(stream_db, "cap", "run", "r", 10.0)
    finish = NOW + timedelta(hours=1)
    set_run(stream_db, "r", 1.0, forecast=ends_at(11.0, 8.0, 14.0, finish))
    rules(stream_db).round(NOW)
    alert = only(stream_db)
    assert (alert["basis"], alert["stage_pct"], alert["passed"]) == ("forecast", 100, [50, 80, 90])
    assert 0.6 < alert["probability"] < 0.7
    assert "is forecast to use 11 of 10 kWh (110 %)" in alert["message"]
    assert "p10 8, p90 14" in alert["message"]
    assert "probability of 67 %" in alert["message"]
    status = stream_db.budgets.find_one({"_id": "cap"})["status"]  # type: ignore[index]
    assert (status["stage_pct_actual"], status["stage_pct_forecast"]) == (0, 100)
    assert status["forecast"] == {"point": 11.0, "p10": 8.0, "p90": 14.0, "method": "runs", "at": finish}
    assert (status["actual"], status["period"], status["evaluated_at"]) == (1.0, "total", NOW)


def test_a_forecast_that_says_no_more_than_what_is_spent_is_no_news(stream_db: Db) -> None:
    add_budget(stream_db, "cap", "run", "r", 10.0)
    set_run(stream_db, "r", 8.2, forecast=ends_at(8.9, 8.5, 9.0))
    rules(stream_db).round(NOW)
    assert stages_of(stream_db) == {("actual", 80)}


def test_a_forecast_that_trembles_neither_opens_nor_closes_and_tells_nobody_twice(stream_db: Db) -> None:
    add_budget(stream_db, "cap", "run", "r", 10.0)
    made = rules(stream_db)

    def at(point: float, second: int) -> str:
        set_run(stream_db, "r", 1.0, forecast=ends_at(point, point, point))
        made.round(NOW + timedelta(seconds=second))
        return str(stream_db.alerts.find_one({"stage_pct": 80})["state"])  # type: ignore[index]

    assert at(8.1, 0) == "open"
    stream_db.alerts.update_one({"stage_pct": 80}, {"$set": {"deliveries.0.state": "sent"}})
    assert at(7.6, 1) == "open"
    assert at(7.4, 2) == "resolved"
    assert because(stream_db)["forecast", 80] == BELOW
    assert at(7.9, 3) == "resolved"
    assert at(8.0, 4) == "open"
    alert = only(stream_db)
    assert alert["deliveries"][0]["state"] == "sent"
    assert "resolved_at" not in alert
    assert "resolved_because" not in alert


def test_alerts_are_over_with_their_run(stream_db: Db) -> None:
    add_budget(stream_db, "cap", "run", "r", 10.0)
    set_run(stream_db, "r", 9.5, forecast=ends_at(11.0, 10.0, 12.0))
    made = rules(stream_db)
    made.round(NOW)
    set_run(stream_db, "r", 12.0, "completed")
    made.round(NOW + timedelta(seconds=5))
    made.round(NOW + timedelta(seconds=10))
    # What broke at the very end is still told, once; then all is over.
    assert stages_of(stream_db) == {("actual", 90), ("forecast", 100), ("actual", 100)}
    assert set(because(stream_db).values()) == {RUN_OVER}
    assert {a["resolved_at"] for a in stream_db.alerts.find()} == {
        NOW + timedelta(seconds=5),
        NOW + timedelta(seconds=10),
    }


def test_alerts_are_over_with_their_period_and_the_next_one_has_its_own(stream_db: Db) -> None:
    midnight = datetime(2026, 3, 10, tzinfo=timezone.utc)
    add_budget(stream_db, "cap", "user", "ada", 10.0, period="day", created_at=midnight - timedelta(days=9))
    set_windows(stream_db, [window("user", "ada", midnight - timedelta(hours=1), 8.5)])
    made = rules(stream_db)
    made.round(midnight - timedelta(minutes=1))
    made.round(midnight + timedelta(minutes=1))
    assert because(stream_db) == {("actual", 80): None}
    set_windows(stream_db, [window("user", "ada", midnight - timedelta(minutes=1), 1.0)])
    made.round(midnight + timedelta(minutes=2))
    assert because(stream_db) == {("actual", 80): None, ("actual", 90): None}  # late, and still of that day
    made.round(midnight + timedelta(minutes=12))
    assert set(because(stream_db).values()) == {PERIOD_OVER}
    set_windows(stream_db, [window("user", "ada", midnight + timedelta(hours=1), 8.5)])
    made.round(midnight + timedelta(hours=2))
    assert {(a["period"], a["stage_pct"], a["state"]) for a in stream_db.alerts.find()} == {
        ("2026-03-09", 80, "resolved"),
        ("2026-03-09", 90, "resolved"),
        ("2026-03-10", 80, "open"),
    }


def test_alerts_are_over_with_their_budget_and_a_raised_one_begins_anew(stream_db: Db) -> None:
    add_budget(stream_db, "cap", "run", "r", 10.0)
    add_budget(stream_db, "gone", "run", "r", 10.0)
    set_run(stream_db, "r", 8.5)
    made = rules(stream_db)
    made.round(NOW)
    add_budget(stream_db, "cap", "run", "r", 16.0, created_at=NOW)
    budgets.remove(stream_db, "gone")
    made.round(NOW + timedelta(seconds=5))
    states = {
        (a["budget"], a["stage_pct"], a["state"], a.get("resolved_because")) for a in stream_db.alerts.find()
    }
    assert states == {
        ("cap", 80, "resolved", REMOVED),
        ("cap", 50, "open", None),
        ("gone", 80, "resolved", REMOVED),
    }
    budgets.remove(stream_db, "cap")
    made.round(NOW + timedelta(seconds=10))
    assert stream_db.alerts.count_documents({"state": "open"}) == 0


@pytest.mark.parametrize(
    ("scope", "key", "stopped"),
    [
        ("run", "r", ["r"]),
        ("user", "ada", ["r", "s"]),
        ("project", "p", ["r"]),
        ("node", "n", ["s"]),
        ("all", None, ["other", "r", "s"]),
    ],
)
def test_a_budget_that_stops_asks_its_active_runs_at_100_percent_spent(
    stream_db: Db, scope: str, key: str | None, stopped: list[str]
) -> None:
    add_budget(stream_db, "cap", scope, key, 10.0, on_break="stop")
    forecast = ends_at(20.0, 20.0, 20.0)
    set_run(stream_db, "r", 6.0, user_id="ada", project="p", forecast=forecast)
    set_run(stream_db, "s", 1.0, user_id="ada", nodes=["n"])
    set_run(stream_db, "ended", 9.0, "completed", user_id="ada", project="q", nodes=["n"])
    set_run(stream_db, "other", 1.0, user_id="bob", project="q", nodes=["m"])
    set_windows(stream_db, [window(scope, key or "all", NOW - timedelta(minutes=5), 6.0)])
    stream_db.node_aggregates.insert_one(
        {
            "_id": "n|1",
            "node_id": "n",
            "window_start": NOW,
            "window_end": NOW + timedelta(minutes=1),
            "energy_kwh": 6.0,
        }
    )
    made = rules(stream_db)
    made.round(NOW)
    assert all(entry["channel"] != "stop" for a in stream_db.alerts.find() for entry in a["deliveries"])
    set_run(stream_db, "r", 10.0, user_id="ada", project="p", forecast=forecast)
    set_windows(stream_db, [window(scope, key or "all", NOW - timedelta(minutes=4), 4.0)])
    stream_db.node_aggregates.update_one({}, {"$set": {"energy_kwh": 10.0}})
    made.round(NOW + timedelta(seconds=5))
    alert = stream_db.alerts.find_one({"basis": "actual", "stage_pct": 100})
    assert alert is not None
    assert alert["evidence"]["stop_runs"] == stopped
    assert [entry["channel"] for entry in alert["deliveries"]] == ["webhook", "stop"]
    assert f"Asked to stop: {', '.join(stopped)}." in alert["message"]


def test_a_run_that_has_ended_is_not_asked_to_stop(stream_db: Db) -> None:
    add_budget(stream_db, "cap", "run", "r", 10.0, on_break="stop")
    set_run(stream_db, "r", 11.0, "completed")
    rules(stream_db).round(NOW)
    assert [entry["channel"] for entry in only(stream_db)["deliveries"]] == ["webhook"]


def test_what_is_not_known_raises_nothing_and_the_status_says_so(stream_db: Db) -> None:
    add_budget(stream_db, "cap", "user", "ada", 1.0)
    rules(stream_db).round(NOW)
    assert stream_db.alerts.count_documents({}) == 0
    status = stream_db.budgets.find_one({"_id": "cap"})["status"]  # type: ignore[index]
    assert status["note"] == "no energy known yet; no forecast yet"
    assert not {"actual", "forecast", "probability"} & status.keys()


def test_a_status_is_written_when_it_changes_and_now_and_then(stream_db: Db) -> None:
    add_budget(stream_db, "cap", "run", "r", 10.0)
    set_run(stream_db, "r", 1.0)
    made = rules(stream_db)

    def evaluated(second: int) -> int:
        made.round(NOW + timedelta(seconds=second))
        status: Any = stream_db.budgets.find_one({"_id": "cap"})["status"]  # type: ignore[index]
        return int((status["evaluated_at"] - NOW).total_seconds())

    assert [evaluated(0), evaluated(5), evaluated(31)] == [0, 0, 31]
    set_run(stream_db, "r", 1.5)
    assert evaluated(36) == 36


def test_a_status_never_lands_on_a_budget_that_was_replaced_meanwhile(
    stream_db: Db, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_budget(stream_db, "cap", "run", "r", 10.0)
    set_run(stream_db, "r", 1.0)
    made = rules(stream_db)
    look = made._evaluator.look

    def replaced(at: datetime) -> None:
        add_budget(stream_db, "cap", "run", "r", 20.0, created_at=NOW)
        look(at)

    monkeypatch.setattr(made._evaluator, "look", replaced)
    made.round(NOW)
    assert "status" not in (stream_db.budgets.find_one({"_id": "cap"}) or {})


def test_a_budget_that_cannot_be_read_holds_no_other_up(stream_db: Db) -> None:
    stream_db.budgets.insert_one({"_id": "broken", "limit": "much"})
    add_budget(stream_db, "cap", "run", "r", 10.0)
    set_run(stream_db, "r", 6.0)
    assert len(rules(stream_db).round(NOW).raised) == 1


def test_open_alerts_are_seen_again_once_a_minute(stream_db: Db) -> None:
    add_budget(stream_db, "cap", "run", "r", 10.0)
    set_run(stream_db, "r", 6.0)
    made = rules(stream_db)
    made.round(NOW)
    made.round(NOW + timedelta(seconds=30))
    assert only(stream_db)["last_seen_at"] == NOW
    made.round(NOW + timedelta(seconds=61))
    assert only(stream_db)["last_seen_at"] == NOW + timedelta(seconds=61)


def test_only_one_of_two_resolves(stream_db: Db) -> None:
    add_budget(stream_db, "cap", "run", "r", 10.0)
    set_run(stream_db, "r", 6.0)
    rules(stream_db).round(NOW)
    identity = only(stream_db)["_id"]
    assert alerts.resolve(stream_db, identity, "first", NOW)
    assert not alerts.resolve(stream_db, identity, "second", NOW)
    assert not alerts.reopen(stream_db, identity, "another reason", NOW)
    assert only(stream_db)["resolved_because"] == "first"


def test_a_budget_that_is_added_meanwhile_keeps_the_alerts_that_another_raised(
    stream_db: Db, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_budget(stream_db, "old", "run", "r", 100.0)
    set_run(stream_db, "r", 6.0)
    read = rules_module.stored

    def slow(db: Db) -> Sequence[Doc]:
        found = read(db)
        monkeypatch.setattr(rules_module, "stored", read)
        add_budget(db, "new", "run", "r", 10.0)
        assert len(rules(db).round(NOW).raised) == 1
        return found

    monkeypatch.setattr(rules_module, "stored", slow)
    assert rules(stream_db).round(NOW).resolved == ()
    assert only(stream_db)["state"] == "open"


def test_a_process_that_saw_less_raises_no_lower_stage_after_a_higher_one(stream_db: Db) -> None:
    add_budget(stream_db, "cap", "run", "r", 10.0)
    one, other = rules(stream_db), rules(stream_db)
    for kwh, who in ((1.0, one), (1.0, other), (9.5, one), (8.5, other)):
        set_run(stream_db, "r", kwh)
        who.round(NOW)
    assert stages_of(stream_db) == {("actual", 90)}


def test_a_round_in_which_nothing_happens_asks_little(stream_db: Db, stream_address: Address) -> None:
    commands = Commands()
    uri, name = stream_address.uri, stream_address.database
    with MongoClient[Doc](uri, tz_aware=True, event_listeners=[commands]) as client:
        for n in range(20):
            add_budget(stream_db, f"b{n}", "run", "r", 10.0 + n)
        set_run(stream_db, "r", 9.0, last_event_at=NOW)
        made = rules(client[name])
        made.round(NOW)
        made.round(NOW + timedelta(seconds=1))
        commands.names.clear()
        made.round(NOW + timedelta(seconds=2))
        asked = list(commands.names)
    # Open alerts, budgets, recent runs, and how far both queries are: the number of budgets does not count.
    assert asked == ["find"] * 7


def test_the_page_of_the_collections_names_what_is_written(stream_db: Db) -> None:
    page = text_of("docs/reference/collections.md")
    add_budget(stream_db, "cap", "run", "r", 10.0, on_break="stop")
    set_run(stream_db, "r", 6.0, forecast=ends_at(11.0, 10.0, 12.0))
    made = rules(stream_db)
    made.round(NOW)
    made.round(NOW)
    budgets.remove(stream_db, "cap")
    made.round(NOW)
    add_budget(stream_db, "all", "all", None, 10.0)
    add_budget(stream_db, "run", "run", "r", 10.0)
    for collection in ("alerts", "budgets"):
        said = {name for cells in rows(section(page, f"## `{collection}`")) for name in names_in(cells[0])}
        written = {name for doc in stream_db[collection].find() for name in doc}
        assert written - said == set()
        assert said - written <= {"status"}
