"""Every page of the dashboard in a real browser, on empty, normal and hostile data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from conf.settings import load_settings
from dashboard.store import connect
from joulestream.local.ports import any_free
from joulestream.local.process import running
from joulestream.local.services import dashboard_service
from joulestream.local.store import find_document_server, store_service
from tests.dashboard_seed import HOSTILE, seed_hostile, seed_normal
from tests.e2e.browser import NARROW, WIDE, Browser, headless

pytestmark = [pytest.mark.browser, pytest.mark.stack]

PAGES = ("", "runs", "run", "compare", "groups", "nodes", "quality", "methodology")
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
    with connect(store.address) as client:
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


EXPECTED: dict[str, dict[str, tuple[str, ...]]] = {
    "empty": {
        "": ("Overview", "No run has arrived yet.", "./joule up", "not started"),
        "runs": ("Runs", "No run has arrived yet.", "./joule track"),
        "run": ("Run", "No run has arrived yet."),
        "compare": ("Compare", "No run has arrived yet."),
        "groups": ("Users and models", "No energy in this range."),
        "nodes": ("Nodes", "No node has reported yet.", "./joule node"),
        "quality": ("Data quality", "No message has been consumed yet."),
        "methodology": ("Methodology", "Our World in Data", "475 g CO2e/kWh", "3,600,000 J"),
    },
    "normal": {
        "": ("Overview", "369 Wh", "of 9", "location-based", "Energy (Wh) per 1 min", "resnet50-imagenet"),
        "runs": ("Runs", "9 runs", "resnet50-imagenet", "imagenet-1k", "stale", "206", "Peak power (W)"),
        "run": ("Energy so far", "Event time (UTC)", "By device", "Link to this run", "/run?run="),
        "compare": ("Compare", "Choose at least two runs."),
        "groups": ("Users and models", "linus", "katherine", "69 %"),
        "nodes": ("Nodes", "lab-node-1", "unattributed", "Mean power (W)", "vit-small"),
        "quality": ("Data quality", "6,000", "not_finite", "to the message", "Lag now: node 0, training 0."),
        "methodology": ("Methodology", "Peak power", "ISO/IEC 21031", "timestamp_in_future"),
    },
    "hostile": {
        "": ("Overview", "of 8", "../../etc/passwd+1"),
        "runs": ("Runs", "8 runs", HOSTILE[0], HOSTILE[2]),
        "run": ("Energy so far", "By device"),
        "compare": ("Compare",),
        "groups": ("Users and models", HOSTILE[0], HOSTILE[5]),
        "nodes": ("Nodes", HOSTILE[0]),
        "quality": ("Data quality", HOSTILE[0], HOSTILE[1], "training.events/7/0"),
        "methodology": ("Methodology",),
    },
}


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
