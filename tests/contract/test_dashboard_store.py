"""The dashboard's reads against a real document server: what the stream wrote is what people see."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from pymongo import MongoClient, monitoring

from conf.sections import MongoDB
from dashboard.store import RunFilter, Store, StoreAway, connect
from dashboard.store.node_factors import TOO_SLOW
from dashboard.store.rows import Run
from schemas.carbon import intensity
from tests.dashboard_seed import HOSTILE, RUNS, filled, seed_hostile, seed_large, seed_normal

NOW = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)
HOUR = timedelta(hours=1)
NODE = "node/lab-node-1"
READS = {"find", "aggregate", "count", "distinct", "getMore", "ping", "hello", "endSessions", "killCursors"}


class Commands(monitoring.CommandListener):
    """Names of the commands that were sent, and the pipelines among them."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.stages: set[str] = set()

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        self.names.add(event.command_name)
        self.stages |= {name for stage in event.command.get("pipeline", ()) for name in stage}

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        """Nothing to note."""

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        """Nothing to note."""


@pytest.fixture(scope="module")
def normal(store: Any) -> Iterator[Store]:
    yield from filled(store.address, "dashboard_normal", seed_normal, NOW)


@pytest.fixture(scope="module")
def hostile(store: Any) -> Iterator[Store]:
    yield from filled(store.address, "dashboard_hostile", seed_hostile, NOW)


@pytest.fixture(scope="module")
def large(store: Any) -> Iterator[Store]:
    yield from filled(
        store.address, "dashboard_large", lambda db, now: seed_large(db, now, 1000, 20_000), NOW
    )


@pytest.fixture(scope="module")
def empty(store: Any) -> Iterator[Store]:
    yield from filled(store.address, "dashboard_empty", None, NOW)


def ids(reads: Store, wanted: RunFilter) -> set[str]:
    return {run.run_id for run in reads.runs(wanted, now=NOW).runs}


def run_of(reads: Store, run_id: str) -> Run:
    found = reads.run(run_id, now=NOW)
    assert found is not None
    return found


def test_an_empty_store_answers_everything_with_nothing(empty: Store) -> None:
    overview = empty.overview(NOW)
    assert (overview.n_runs, overview.total.energy_kwh, overview.power_w) == (0, None, None)
    assert empty.runs(now=NOW).runs == ()
    assert empty.run("r", now=NOW) is None
    assert empty.windows("all", ["all"]) == ()
    assert empty.nodes() == ()
    assert empty.node_windows("n") == ()
    assert empty.pods() == empty.pods("n") == ()
    assert empty.quality().accounts == ()
    assert empty.queries() == ()
    assert empty.forecasts.series() == ()
    assert empty.forecasts.ahead("all/", NOW) == ()
    assert empty.forecasts.past("all/", 60, NOW - HOUR, NOW, 100).points == ()
    assert empty.forecasts.score("all/", 60, NOW - HOUR, NOW).n == 0
    assert empty.forecasts.models() == ()
    assert empty.forecasts.of_run("r") is None
    assert empty.budgets.all() == ()
    assert (empty.alerts.some(), empty.alerts.n_open(), empty.alerts.one("a")) == ((), 0, None)


def test_the_overview_sums_all_runs(normal: Store) -> None:
    overview, runs = normal.overview(NOW), normal.runs(now=NOW).runs
    assert overview.n_runs == len(RUNS) == len(runs)
    assert (overview.n_active, overview.n_stale) == (2, 1)
    assert overview.total.energy_kwh == pytest.approx(sum(run.energy_kwh or 0 for run in runs), rel=1e-9)
    assert sum(share.emissions_kg or 0 for share in overview.sources) == pytest.approx(
        overview.total.emissions_kg
    )
    assert overview.power_w is not None
    assert 300 < overview.power_w < 800


def test_windows_users_and_models_hold_the_energy_of_the_runs(normal: Store) -> None:
    total = normal.overview(NOW).total.energy_kwh
    for dimension in ("user", "model", "region"):
        by_run, by_window = normal.groups(dimension), normal.groups(dimension, NOW - timedelta(days=9))
        assert sum(g.energy_kwh or 0 for g in by_run) == pytest.approx(total, rel=1e-9)
        assert sum(g.energy_kwh or 0 for g in by_window) == pytest.approx(total, rel=1e-9)
        assert {g.key for g in by_run} == {g.key for g in by_window}
    for at_most in (2000, 20):
        windows = normal.windows("all", ["all"], max_windows=at_most)
        assert len(windows) <= at_most
        assert sum(window.energy_kwh or 0 for window in windows) == pytest.approx(total, rel=1e-9)


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (RunFilter(users=("ada",)), {"digits-mlp-01", "digits-mlp-02", "mlp-silent"}),
        (RunFilter(statuses=("stale",)), {"mlp-silent"}),
        (RunFilter(statuses=("running", "failed")), {"vit-small", "llm-lora-7b", "wine-svm"}),
        (RunFilter(text="RESNET"), {"resnet50-imagenet"}),
        (RunFilter(text=".*"), set()),
        (RunFilter(models=("mlp",), regions=("DEU",), datasets=("digits",)), {"digits-mlp-01", "mlp-silent"}),
        (RunFilter(active_from=NOW - timedelta(minutes=1)), {"vit-small", "llm-lora-7b"}),
    ],
)
def test_filters_find_their_runs(normal: Store, wanted: RunFilter, found: set[str]) -> None:
    assert ids(normal, wanted) == found


def test_choices_are_what_the_runs_have(normal: Store) -> None:
    choices = normal.choices()
    assert choices["user_id"] == ("ada", "grace", "katherine", "linus")
    assert choices["project"] == ()


def test_a_run_over_time_is_its_events(normal: Store) -> None:
    run = run_of(normal, "resnet50-imagenet")
    series = normal.run_points(run)
    assert series.origin == "events"
    assert len(series.points) == run.n_events
    assert sum(point.energy_kwh or 0 for point in series.points) == pytest.approx(run.energy_kwh, rel=1e-9)
    assert {point.measurement for point in series.points} == {"measured", "estimated"}


def test_events_of_every_kind_of_identity_are_found(mongodb_uri: str) -> None:
    event = {"timestamp": NOW, "interval_s": 5.0, "energy_kwh": 1.0}
    others = ("e|other|1", "s|a|p|0", "e|ab|1", "s|a.b|p|0")
    with connect(MongoDB(uri=mongodb_uri)) as client:
        client.drop_database("dashboard_identities")
        ledger = client["dashboard_identities"]["training_metrics"]
        ledger.insert_many([{"_id": key, **event} for key in ("e|a|1", "s|a|p|1", *others[2:], others[0])])
        ledger.insert_one({"_id": "h|00", "run_ref": "a", **event})
        series = Store(client, "dashboard_identities").run_points(Run(run_id="a", n_events=3))
        client.drop_database("dashboard_identities")
    assert len(series.points) == 3


def test_a_long_run_is_drawn_from_its_windows_and_by_step_from_sums(large: Store) -> None:
    run = run_of(large, "long")
    series = large.run_points(run, max_points=100)
    assert series.origin == "windows"
    assert series.reason
    assert 0 < len(series.points) <= 100
    steps = large.run_progress(run, "step", 100)
    assert len(steps) <= 102
    assert sum(step.energy_kwh or 0 for step in steps) == pytest.approx(run.energy_kwh, rel=1e-9)


def test_the_list_says_how_many_match_beyond_its_limit(large: Store) -> None:
    listed = large.runs(now=NOW, limit=10)
    assert len(listed.runs) == 10
    assert listed.matching == 1001


def test_a_node_is_split_without_a_rest(normal: Store) -> None:
    for node in normal.nodes():
        parts = (node.attributed_kwh, node.idle_kwh, node.unattributed_kwh)
        assert sum(part or 0 for part in parts) == pytest.approx(node.energy_kwh, rel=1e-9)
    windows = normal.node_windows("lab-node-1")
    assert len(windows) == 110
    assert sum(share.energy_kwh or 0 for share in normal.node_runs("lab-node-1")) == pytest.approx(
        sum(window.attributed_kwh or 0 for window in windows), rel=1e-9
    )


def test_a_node_has_the_intensity_of_the_region_that_it_names_or_why_there_is_none(normal: Store) -> None:
    names = ("lab-node-1", "lab-node-2", "own")
    found = normal.node_factors(names, {"own": "FRA"}, 60.0)
    assert found["lab-node-1"] == intensity("DEU")
    assert found["lab-node-2"] == "the node names no region"
    assert found["own"] == intensity("FRA")
    assert normal.node_factors(names, {}, 0.0)["lab-node-1"] == TOO_SLOW


def test_pods_of_a_node_and_of_all_hold_what_is_charged_to_them(normal: Store) -> None:
    pods, node = normal.pods("lab-node-2"), next(n for n in normal.nodes() if n.node_id == "lab-node-2")
    assert [(pod.namespace, pod.pod) for pod in pods] == [
        ("training", "training-0"),
        ("kube-system", "kube-system-0"),
    ]
    charged = [*pods, *normal.node_runs("lab-node-2")]
    assert sum(share.energy_kwh or 0 for share in charged) == pytest.approx(node.attributed_kwh, rel=1e-9)
    assert normal.pods() == pods
    assert normal.pods("lab-node-1") == ()
    assert normal.pods(None, NOW - timedelta(minutes=10))[0].energy_kwh < pods[0].energy_kwh  # type: ignore[operator]


def test_pods_without_a_name_are_left_out(hostile: Store) -> None:
    found = hostile.pods()
    assert {pod.namespace for pod in found} == set(HOSTILE[:4])
    assert hostile.pods(HOSTILE[0]) == ()


def test_every_consumed_message_is_accounted_for(normal: Store) -> None:
    quality = normal.quality()
    assert dict(quality.reasons) == {"invalid_timestamp": 36, "not_finite": 24}
    for account in quality.accounts:
        assert account.consumed == account.accepted + account.rejected_total + account.duplicate
    assert quality.n_rejected_kept == 12
    assert normal.queries() == ("node", "training")
    batches = normal.progress("training", 10)
    assert [batch.batch for batch in batches] == list(range(50, 60))


def test_hostile_names_come_back_as_they_are(hostile: Store) -> None:
    runs = hostile.runs(now=NOW).runs
    assert {run.user_id for run in runs if run.user_id} == set(HOSTILE)
    assert {group.key for group in hostile.users()} == {None, *HOSTILE}
    assert dict(runs[0].hyperparameters).keys() == {"$where", "a.b"}
    odd = run_of(hostile, "odd")
    assert (odd.energy_kwh, odd.emissions_kg, odd.started_at, odd.best_accuracy, odd.ranks) == (
        None, None, None, None, (),
    )  # fmt: skip


def test_nothing_but_reads_is_sent(store: Any, normal: Store) -> None:
    commands = Commands()
    with MongoClient[dict[str, Any]](store.address, event_listeners=[commands], tz_aware=True) as client:
        reads = Store(client, "dashboard_normal")
        run = reads.runs(now=NOW).runs[0]
        for call in (
            reads.ping, lambda: reads.overview(NOW), reads.choices, lambda: reads.run_points(run),
            lambda: reads.run_progress(run, "step"), lambda: reads.windows("user", max_windows=5), reads.users,
            reads.models, reads.nodes, lambda: reads.node_windows("lab-node-1"), reads.quality, reads.leases,
            lambda: reads.node_runs("lab-node-1"), lambda: reads.progress("training"), reads.forecasts.series,
            lambda: reads.forecasts.ahead(NODE, NOW), lambda: reads.forecasts.score(NODE, 60, NOW - HOUR, NOW),
            lambda: reads.forecasts.past(NODE, 60, NOW - HOUR, NOW, 9), reads.forecasts.models, reads.budgets.all,
            lambda: reads.forecasts.of_run("vit-small"), reads.alerts.some, reads.alerts.n_open,
            lambda: reads.alerts.of("node", "lab-node-1"), lambda: reads.alerts.one("a"),
            reads.pods,
        ):  # fmt: skip
            call()
    assert commands.names <= READS
    assert commands.stages <= {"$match", "$group", "$unwind"}


def test_a_store_that_is_away_is_named_without_a_secret() -> None:
    address = "mongodb://reader:hunter2@127.0.0.1:9/?authSource=admin"
    with Store(MongoDB(uri=address, timeout_s=0.3)) as away, pytest.raises(StoreAway) as error:
        away.overview(NOW)
    assert "127.0.0.1:9" in str(error.value)
    assert "hunter2" not in str(error.value)
    assert "./joule up" in str(error.value)
