"""Every page of the dashboard in a real browser, on empty, normal and hostile data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from conf.sections import MongoDB
from conf.settings import load_settings
from dashboard.store import connect
from joulestream.local.ports import any_free
from joulestream.local.process import running
from joulestream.local.services import dashboard_service
from joulestream.local.store import find_document_server, store_service
from tests.dashboard_expected import EXPECTED
from tests.dashboard_seed import HOSTILE, seed_hostile, seed_normal
from tests.e2e.browser import NARROW, WIDE, Browser, headless

pytestmark = [pytest.mark.browser, pytest.mark.stack]

PAGES = ("", "runs", "run", "compare", "groups", "nodes", "forecast", "budgets", "quality", "methodology")
FILLS: dict[str, Any] = {"empty": None, "normal": seed_normal, "hostile": seed_hostile}


@dataclass(frozen=True)
class Site:
    """A dashboard on one data set."""

    name: str
    url: str
    documents: Any


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with headless(tmp_path_factory.mktemp("profile")) as driver:
        yield Browser(driver)


@pytest.fixture(scope="module", params=list(FILLS))
def site(
    request: pytest.FixtureRequest, store: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    name = str(request.param)
    with connect(MongoDB(uri=store.address)) as client:
        database = f"pages_{name}"
        client.drop_database(database)
        if FILLS[name] is not None:
            FILLS[name](client[database], datetime.now(timezone.utc))
        with serving(store.address, database, tmp_path_factory.mktemp(name)) as url:
            yield Site(name, url, client[database])
        client.drop_database(database)


class serving:  # noqa: N801 -- reads as a statement: `with serving(…) as url`
    """A dashboard of its own, started with the flags of the local stack."""

    def __init__(self, uri: str, database: str, folder: Path) -> None:
        flags = {"mongodb.uri": uri, "mongodb.database": database, "dashboard.port": any_free()}
        self.settings = load_settings({"data_dir": folder, "mongodb.timeout_s": 2.0, **flags})
        self._running = running(dashboard_service(self.settings, folder / "dashboard.log"))

    def __enter__(self) -> str:
        self._running.__enter__()
        return f"http://127.0.0.1:{self.settings.dashboard.port}"

    def __exit__(self, *error: Any) -> None:
        self._running.__exit__(*error)


@pytest.mark.parametrize("width", [WIDE, NARROW])
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page or "overview")
def test_page_shows_its_content_and_no_error(site: Site, browser: Browser, page: str, width: int) -> None:
    expected = EXPECTED[site.name][page]
    shown = browser.open(f"{site.url}/{page}", *(expected if width == WIDE else expected[:1]), width=width)
    assert browser.complaints() == []
    assert "The store is away" not in shown
    assert browser.driver.title == "Joulestream"
    wide = browser.driver.execute_script("return document.documentElement.scrollWidth - window.innerWidth")
    assert wide <= 0


ON_NORMAL = pytest.mark.parametrize("site", ["normal"], indirect=True)
ON_HOSTILE = pytest.mark.parametrize("site", ["hostile"], indirect=True)


@ON_HOSTILE
def test_hostile_names_stay_text_on_a_run_and_in_a_comparison(site: Site, browser: Browser) -> None:
    ids = ["=cmd@calc", *(f"../../etc/passwd+{n}" for n in range(1, 6))]
    for run_id, name in zip(ids[:3], HOSTILE, strict=False):
        browser.open(f"{site.url}/run?run={quote(run_id, safe='')}", run_id, name, "$where")
    pairs = "&".join(f"run={quote(run_id, safe='')}" for run_id in ids)
    browser.open(f"{site.url}/compare?{pairs}", "Differences", "Pareto line", *HOSTILE[:3])
    assert browser.complaints() == []
    assert (
        browser.driver.execute_script("return document.querySelectorAll('img[onerror], img[src=x]').length")
        == 0
    )
    assert browser.driver.title == "Joulestream"


@ON_NORMAL
def test_a_permalink_opens_its_run_and_the_axis_in_the_link(site: Site, browser: Browser) -> None:
    shown = browser.open(
        f"{site.url}/run?run=resnet50-imagenet&over=Epoch&with=Accuracy",
        "resnet50-imagenet",
        "Over epoch 1 to 20",
    )
    assert "accuracy from" in shown
    shown = browser.open(f"{site.url}/run?run=resnet50-imagenet", "1 gap, 1 min 30 s in all")
    assert "estimated" in shown
    assert browser.complaints() == []


@ON_NORMAL
def test_an_address_of_what_is_not_there_says_so_on_every_page(site: Site, browser: Browser) -> None:
    for address, said in (
        ("compare?run=vit-small&run=gone-1&run=gone-2", "There are no runs of these ids."),
        ("nodes?node=gone-1", "There is no node of this name."),
        ("forecast?target=node%2Fgone-1", "There is no forecast of this series."),
        ("budgets?budget=gone-1", "There is no budget of this name any more."),
        ("budgets?alert=gone-1", "There is no alert of this id any more."),
    ):
        shown = browser.open(f"{site.url}/{address}", said, "Asked for:")
        assert "gone-1" in shown.partition("Asked for:")[2].partition("\n")[0]
    assert browser.complaints() == []


@ON_NORMAL
def test_a_run_that_is_not_there_says_so_and_appears_when_it_comes(site: Site, browser: Browser) -> None:
    browser.open(f"{site.url}/run?run=comes-later", "There is no run of this id", "comes-later")
    now = datetime.now(timezone.utc)
    site.documents.training_run_summary.insert_one(
        {
            "_id": "comes-later",
            "run_id": "comes-later",
            "status": "running",
            "started_at": now,
            "last_event_at": now,
        }
    )
    try:
        browser.wait_for("Nothing to draw yet.", "running")
    finally:
        site.documents.training_run_summary.delete_one({"_id": "comes-later"})


@ON_NORMAL
def test_filters_come_from_the_url_and_survive_a_refresh(site: Site, browser: Browser) -> None:
    address = f"{site.url}/runs?user=ada&status=completed"
    browser.open(address, "2 runs", "digits-mlp-01")
    now = datetime.now(timezone.utc)
    site.documents.training_run_summary.insert_one(
        {"_id": "ada-3", "run_id": "ada-3", "user_id": "ada", "status": "completed", "last_event_at": now}
    )
    try:
        browser.wait_for("3 runs", "ada-3")
    finally:
        site.documents.training_run_summary.delete_one({"_id": "ada-3"})
    assert browser.driver.current_url == address
    assert "resnet50-imagenet" not in browser.text()
    assert browser.complaints() == []


@ON_NORMAL
def test_charts_have_a_text_alternative_and_their_data(site: Site, browser: Browser) -> None:
    shown = browser.open(f"{site.url}/run?run=resnet50-imagenet", "206 Wh used at", "By device: CPU")
    assert shown.count("Show data") == 2
    labels = browser.driver.execute_script(
        "return [...document.querySelectorAll('[data-testid=\"stPlotlyChart\"]')]"
        ".map(c => c.getAttribute('aria-label') || c.querySelector('[aria-label]')?.getAttribute('aria-label'))"
    )
    assert len(labels) == 2
    assert labels[0].startswith("206 Wh used at")


@ON_NORMAL
def test_a_series_and_a_horizon_of_the_url_are_drawn_with_their_scores(site: Site, browser: Browser) -> None:
    address = f"{site.url}/forecast?target=node%2Flab-node-1&horizon=15+min&range=3+h"
    shown = browser.open(
        address, "Power in 15 min", "Weights last:", "Power of lab-node-1 left its 90 % interval"
    )
    chosen = "return [...document.querySelectorAll('input')].map(i => i.value)"
    assert "Node · lab-node-1" in browser.driver.execute_script(chosen)
    assert "1 gap" in shown
    assert "of strong naive" in shown
    assert "Drift alarm at" in shown
    assert "Alerts on this series" in shown
    assert "The last value serves" not in shown
    assert shown.count("Show data") == 4
    assert browser.driver.current_url == address
    assert browser.complaints() == []


@ON_NORMAL
def test_naive_forecasts_say_so_and_why(site: Site, browser: Browser) -> None:
    why = "the model could not be read: hash of data.json differs"
    shown = browser.open(
        f"{site.url}/forecast?target=node%2Flab-node-2", f"Reason: {why}", "No batch model yet:"
    )
    assert "The last value serves as the forecast, ahead by: 1 min, 5 min, 15 min, 1 h, 6 h, 24 h." in shown
    browser.open(
        f"{site.url}/forecast?target=node%2Fgone", "There is no forecast of this series.", "node/gone"
    )
    assert browser.complaints() == []


@ON_NORMAL
def test_a_run_shows_its_end_its_method_and_its_budgets(site: Site, browser: Browser) -> None:
    shown = browser.open(f"{site.url}/run?run=vit-small", "At completion", "after epoch 12", "vit-small-cap")
    assert "By epochs, 12 of 20 done" in shown
    shown = browser.open(f"{site.url}/run?run=llm-lora-7b", "Per epoch", "By its rate")
    shown = browser.open(f"{site.url}/run?run=digits-mlp-01", "It was", "Mean error", "2.6 %")
    assert "it was 97.0 Wh" in shown
    assert browser.complaints() == []


@ON_NORMAL
def test_an_alert_of_the_url_is_shown_with_its_evidence(site: Site, browser: Browser) -> None:
    found = site.documents.alerts.find_one({"rule": "power_anomaly"})
    shown = browser.open(
        f"{site.url}/budgets?alert={quote(found['_id'], safe='')}", "windows 1.p95_w", "243.5"
    )
    assert found["message"] in shown
    shown = browser.open(f"{site.url}/budgets?state=resolved&rule=idle_gpu", "0 open, 1 resolved")
    assert "power_anomaly · node" not in shown
    browser.open(f"{site.url}/budgets?alert=gone", "There is no alert of this id any more.")
    assert browser.complaints() == []


@ON_NORMAL
def test_an_alert_of_a_budget_leads_to_the_budget_which_stands_first(site: Site, browser: Browser) -> None:
    found = site.documents.alerts.find_one({"budget": "fleet-co2"})
    browser.open(f"{site.url}/budgets?alert={quote(found['_id'], safe='')}", "Open the budget")
    links = "return [...document.querySelectorAll('a.js-link')].map(a => a.href)"
    assert f"{site.url}/budgets?budget=fleet-co2" in browser.driver.execute_script(links)
    browser.open(f"{site.url}/budgets?budget=team-ada", "5 budgets, 2 at risk")
    browser.wait_until("return document.querySelector('.js-plotly-plot .ytick')?.textContent === 'team-ada'")
    assert browser.complaints() == []


@ON_NORMAL
def test_pods_of_one_node_are_chosen_by_the_url(site: Site, browser: Browser) -> None:
    address = f"{site.url}/nodes?pods=This+node&node="
    shown = browser.open(f"{address}lab-node-2", "Energy by namespace: training", "training-0")
    assert "75 %" in shown
    browser.open(f"{address}lab-node-1", "No pod was charged in this range.", "./joule ingest")
    assert browser.complaints() == []


@ON_NORMAL
def test_a_comparison_keeps_its_baseline_in_the_url_and_defines_its_rows(
    site: Site, browser: Browser
) -> None:
    address = f"{site.url}/compare?run=resnet50-imagenet&run=vit-small&baseline=vit-small"
    browser.open(address, "vit-small (baseline)", "CO₂e per accuracy point")
    titles = "return [...document.querySelectorAll('.js-term')].map(t => t.title)"
    assert any("Emissions ÷ best accuracy" in title for title in browser.driver.execute_script(titles))
    assert browser.driver.current_url == address
    assert browser.complaints() == []


@ON_NORMAL
def test_a_stream_that_stopped_is_named_with_what_to_do(site: Site, browser: Browser) -> None:
    old, now = datetime(2020, 1, 1, tzinfo=timezone.utc), datetime.now(timezone.utc)
    site.documents.stream_leases.update_many({}, {"$set": {"renewed_at": now}})
    assert "does not run" not in browser.open(site.url, "up to date", "Next hour, all runs")
    site.documents.stream_leases.update_many({}, {"$set": {"renewed_at": old}})
    browser.wait_for("The stream does not run.", "./joule status")
    site.documents.stream_leases.update_many({}, {"$set": {"renewed_at": now}})


@ON_NORMAL
@pytest.mark.parametrize(("scheme", "is_dark"), [("light", False), ("dark", True)])
def test_pages_follow_the_colours_that_the_browser_prefers(
    site: Site, browser: Browser, scheme: str, is_dark: bool
) -> None:
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    try:
        browser.open(f"{site.url}/run?run=vit-small", "At completion")
        back = "return getComputedStyle(document.querySelector('[data-testid=\"stApp\"]')).backgroundColor"
        red = int(browser.driver.execute_script(back).partition("(")[2].partition(",")[0])
        assert (red < 128) is is_dark
        assert browser.complaints() == []
    finally:
        browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


@ON_NORMAL
def test_budgets_that_nobody_evaluates_say_so(site: Site, browser: Browser) -> None:
    before = {
        doc["_id"]: doc["status"]["evaluated_at"] for doc in site.documents.budgets.find() if "status" in doc
    }
    old = datetime(2020, 1, 1, tzinfo=timezone.utc)
    now = datetime.now(timezone.utc)
    site.documents.budgets.update_many({"status": {"$exists": True}}, {"$set": {"status.evaluated_at": now}})
    assert "does not run" not in browser.open(f"{site.url}/budgets", "5 budgets, 2 at risk")
    site.documents.budgets.update_many({"status": {"$exists": True}}, {"$set": {"status.evaluated_at": old}})
    browser.wait_for("The process of alerts does not run.", "./joule alerts run")
    for name, at in before.items():
        site.documents.budgets.update_one({"_id": name}, {"$set": {"status.evaluated_at": at}})


@ON_HOSTILE
def test_hostile_names_stay_text_ahead(site: Site, browser: Browser) -> None:
    target = quote(f"node/{HOSTILE[2]}", safe="")
    browser.open(
        f"{site.url}/forecast?target={target}&horizon=15+min",
        f"Reason: {HOSTILE[2]}",
        "Forecasts and what came",
    )
    browser.open(f"{site.url}/run?run=%3Dcmd%40calc", "At completion", HOSTILE[2])
    assert browser.complaints() == []
    count = "return document.querySelectorAll('img[onerror], img[src=x]').length"
    assert browser.driver.execute_script(count) == 0
    assert browser.driver.title == "Joulestream"


def test_a_store_that_is_away_is_named_without_its_secret(browser: Browser, tmp_path: Path) -> None:
    port = any_free()
    uri = f"mongodb://reader:hunter2@127.0.0.1:{port}/?authSource=admin"
    with serving(uri, "pages_away", tmp_path) as url:
        for page in ("", "runs"):
            shown = browser.open(f"{url}/{page}", "The store is away.", f"127.0.0.1:{port}", "./joule up")
            assert "hunter2" not in shown
            assert "Traceback" not in shown
        assert browser.complaints() == []


def test_pages_come_back_with_the_store(browser: Browser, tmp_path: Path) -> None:
    port = any_free()
    with serving(f"mongodb://127.0.0.1:{port}", "pages_back", tmp_path) as url:
        browser.open(f"{url}/runs", "The store is away.")
        service = store_service(tmp_path, port, find_document_server(), tmp_path / "store.log")
        with running(service):
            browser.wait_for("No run has arrived yet.")
