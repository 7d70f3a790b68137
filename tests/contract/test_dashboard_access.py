"""What a person reads from a real document server: their own, of every read that there is; and with `read` only."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.errors import OperationFailure

from conf.sections import MongoDB
from dashboard.store import Run, RunFilter, Store, connect
from dashboard.store.access import Person, SeesAll
from joulestream.local.ports import any_free
from joulestream.local.process import running
from joulestream.local.store import find_document_server, store_service
from schemas.carbon import intensity
from tests.dashboard_seed import RUNS, filled, seed_normal

NOW = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)
SINCE = NOW - timedelta(days=2)
HOUR = timedelta(hours=1)
SPANS = ((None, 9), (SINCE, 2000))
USERS = sorted({user for _, user, *_ in RUNS})
DIMENSIONS = ("run", "user", "model", "region", "all")
Call = Callable[[Store], Any]

OTHERS_RUN = "resnet50-imagenet"
READS: Mapping[str, Call] = {
    "overview": lambda s: s.overview(NOW),
    "runs": lambda s: [s.runs(now=NOW), s.runs(RunFilter(text="linus"), now=NOW), s.runs(now=NOW, limit=1)],
    "run": lambda s: [s.run(run_id, now=NOW) for run_id, *_ in RUNS],
    "some_runs": lambda s: s.some_runs([run_id for run_id, *_ in RUNS], now=NOW),
    "choices": lambda s: s.choices(),
    "run_points": lambda s: [s.run_points(Run(run_id=run_id, n_events=n)) for run_id, *_ in RUNS for n in (1, 9999)],
    "run_progress": lambda s: [s.run_progress(Run(run_id=run_id, step=9), "step") for run_id, *_ in RUNS],
    "windows": lambda s: [s.windows(d, None, t, max_windows=n) for d in DIMENSIONS for t, n in SPANS],
    "groups": lambda s: [s.groups(d, t) for d in DIMENSIONS[1:4] for t in (None, SINCE)],
    "users": lambda s: s.users(),
    "models": lambda s: s.models(),
    "nodes": lambda s: s.nodes(),
    "node_factors": lambda s: s.node_factors(["lab-node-1"], {}, 60.0),
    "node_windows": lambda s: s.node_windows("lab-node-1"),
    "node_runs": lambda s: s.node_runs("lab-node-1"),
    "pods": lambda s: s.pods(),
    "quality": lambda s: s.quality(),
    "queries": lambda s: s.queries(),
    "leases": lambda s: s.leases(),
    "progress": lambda s: s.progress("training"),
    "forecasts.series": lambda s: s.forecasts.series(),
    "forecasts.drift": lambda s: [s.forecasts.drift(t, 60) for t in targets()],
    "forecasts.ahead": lambda s: [s.forecasts.ahead(t, NOW - HOUR) for t in targets()],
    "forecasts.past": lambda s: [s.forecasts.past(t, 60, SINCE, NOW, 9) for t in targets()],
    "forecasts.score": lambda s: [s.forecasts.score(t, 60, SINCE, NOW) for t in targets()],
    "forecasts.models": lambda s: s.forecasts.models(),
    "forecasts.of_run": lambda s: [s.forecasts.of_run(run_id) for run_id, *_ in RUNS],
    "budgets.all": lambda s: s.budgets.all(),
    "alerts.some": lambda s: s.alerts.some(),
    "alerts.of": lambda s: [s.alerts.of(d, k) for d, k in (("node", "lab-node-1"), ("user", "linus"), ("all", None))],
    "alerts.one": lambda s: [s.alerts.one(alert.id) for alert in ALL_ALERTS],
    "alerts.n_open": lambda s: s.alerts.n_open(),
}  # fmt: skip
# Of nobody: what the pipeline is and does.
OF_NOBODY = {"queries", "leases", "progress", "forecasts.models"}
ALL_ALERTS: list[Any] = []


def targets() -> list[str]:
    return ["all/", "node/lab-node-1", "user/linus", "run/vit-small"]


@pytest.fixture(scope="module")
def everything(store: Any) -> Iterator[Store]:
    for reads in filled(store.address, "dashboard_access", seed_normal, NOW):
        ALL_ALERTS[:] = reads.alerts.some()
        yield reads


def names_of_others(user: str) -> set[str]:
    """Names that stand in documents of other people only."""
    rows = [(run_id, who, model, dataset) for run_id, who, model, dataset, *_ in RUNS]
    mine = {name for row in rows if row[1] == user for name in row}
    return {name for row in rows for name in row} - mine - {""}


def test_every_read_is_looked_at(everything: Store) -> None:
    holders = {"": everything, "forecasts.": everything.forecasts}
    holders |= {"budgets.": everything.budgets, "alerts.": everything.alerts}
    found = {
        prefix + name
        for prefix, holder in holders.items()
        for name, _ in inspect.getmembers(type(holder), inspect.isfunction)
        if not name.startswith("_")
    }
    assert found - {"close", "ping", "seen_by"} == set(READS)


@pytest.mark.parametrize("user", ["katherine", "linus"])
@pytest.mark.parametrize("name", list(READS))
def test_no_read_of_a_person_tells_of_another(everything: Store, name: str, user: str) -> None:
    shown = repr(READS[name](everything.seen_by(Person(user))))
    quoted = {f"{quote}{other}{quote}" for other in names_of_others(user) for quote in ("'", '"')}
    assert not [other for other in quoted if other in shown]
    assert not [other for other in USERS if other != user and other in shown]


@pytest.mark.parametrize("name", [name for name in READS if name not in OF_NOBODY])
def test_a_stranger_reads_nothing(everything: Store, name: str) -> None:
    """The same as of an empty database."""
    stranger, empty = everything.seen_by(Person("nobody-knows")), _empty(everything)
    found, nothing = READS[name](stranger), READS[name](empty)
    if name == "overview":
        found = (
            found.n_runs,
            found.total,
            found.power_w,
            found.sources,
            found.measurements,
            found.newest_event_at,
        )
        nothing = (0, nothing.total, None, (), (), None)
    assert repr(found) == repr(nothing)


def _empty(everything: Store) -> Store:
    return Store(everything._client, "dashboard_access_empty")


def test_the_shares_of_all_people_are_the_whole(everything: Store) -> None:
    everybody = [everything.seen_by(Person(user)) for user in USERS]
    whole = everything.overview(NOW)
    parts = [reads.overview(NOW) for reads in everybody]
    assert sum(part.n_runs for part in parts) == whole.n_runs == len(RUNS)
    assert sum(part.total.energy_kwh or 0 for part in parts) == pytest.approx(whole.total.energy_kwh)
    for dimension in DIMENSIONS:
        for at_most in (9, 2000):
            found = [w for reads in everybody for w in reads.windows(dimension, max_windows=at_most)]
            assert sum(w.energy_kwh or 0 for w in found) == pytest.approx(whole.total.energy_kwh)
    for dimension in ("user", "model", "region"):
        for since in (None, NOW - timedelta(days=9)):
            groups = [group for reads in everybody for group in reads.groups(dimension, since)]
            assert sum(group.energy_kwh or 0 for group in groups) == pytest.approx(whole.total.energy_kwh)
            mine = {g.key: g.energy_kwh for g in everybody[0].groups(dimension, since)}
            assert mine == pytest.approx(
                {g.key: g.energy_kwh for g in everybody[0].groups(dimension)}, rel=1e-9
            )


def test_a_person_sees_their_own(everything: Store) -> None:
    ada, katherine = (everything.seen_by(Person(user)) for user in ("ada", "katherine"))
    assert {run.run_id for run in ada.runs(now=NOW).runs} == {"digits-mlp-01", "digits-mlp-02", "mlp-silent"}
    run = ada.run("digits-mlp-01", now=NOW)
    assert run is not None
    assert len(ada.run_points(run).points) == run.n_events
    assert ada.run(OTHERS_RUN, now=NOW) is None
    assert {series.target for series in katherine.forecasts.series()} == {"run/vit-small"}
    assert katherine.forecasts.ahead("run/vit-small", NOW - HOUR)
    assert katherine.forecasts.of_run("vit-small") is not None
    budgets = {
        budget.name: budget for user in USERS for budget in everything.seen_by(Person(user)).budgets.all()
    }
    assert {(b.scope, b.key) for b in budgets.values()} == {
        (b.scope, b.key) for b in everything.budgets.all() if b.scope in ("user", "run")
    }
    assert all(b.created_by is None and b.channels == () for b in budgets.values())


def test_messages_and_hosts_are_for_all_seers(everything: Store) -> None:
    ada = everything.seen_by(Person("ada"))
    assert everything.quality().recent
    assert ada.quality().recent == ()
    assert everything.nodes()
    assert ada.nodes() == ()
    regions = [reads.node_factors(["lab-node-1"], {}, 60.0)["lab-node-1"] for reads in (everything, ada)]
    assert regions == [intensity("DEU"), "the node names no region"]
    assert everything.pods()
    assert ada.pods() == ()
    assert all(lease.host is None for lease in ada.leases())
    assert [lease.query for lease in ada.leases()] == [lease.query for lease in everything.leases()]
    assert all(
        batch.accepted == batch.rejected == 0 or batch.accepted is None for batch in ada.progress("training")
    )
    assert everything.seen_by(SeesAll()).overview(NOW) == everything.overview(NOW)


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], MongoDB]]:
    """A server with passwords: how to reach it as `writer` or as `reader`, who have the roles of those names."""
    folder: Path = tmp_path_factory.mktemp("locked")
    port, server = any_free(), find_document_server()
    roles = {"writer": "readWrite", "reader": "read"}
    open_to_all = store_service(folder, port, server, folder / "store.log")
    with running(open_to_all), MongoClient[dict[str, Any]](f"mongodb://127.0.0.1:{port}") as client:
        for user, role in roles.items():
            given = [{"role": role, "db": "energy_emissions"}]
            client.admin.command("createUser", user, pwd=f"{user}'s", roles=given)

    def section(user: str) -> MongoDB:
        return MongoDB(uri=f"mongodb://127.0.0.1:{port}", username=user, password=f"{user}'s")

    asks = store_service(folder, port, server, folder / "store.log", ["--auth"], section("writer"))
    with running(asks):
        yield section


def test_the_role_read_is_enough_for_every_read_and_for_no_write(locked: Callable[[str], MongoDB]) -> None:
    with connect(locked("writer")) as writer:
        seed_normal(writer["energy_emissions"], NOW)
    with connect(locked("reader")) as client:
        reads = Store(client)
        ALL_ALERTS[:] = reads.alerts.some()
        for call in READS.values():
            call(reads)
        assert reads.overview(NOW).n_runs == len(RUNS)
        runs = client["energy_emissions"].training_run_summary
        for write in (
            lambda: runs.insert_one({"_id": "x"}),
            lambda: runs.update_one({"_id": OTHERS_RUN}, {"$set": {"user_id": "ada"}}),
            lambda: runs.delete_one({"_id": OTHERS_RUN}),
            lambda: list(runs.aggregate([{"$out": "copy"}])),
            lambda: client["energy_emissions"].drop_collection("training_run_summary"),
            lambda: client["other"].things.find_one(),
        ):
            with pytest.raises(OperationFailure) as error:
                write()
            assert error.value.code == 13
