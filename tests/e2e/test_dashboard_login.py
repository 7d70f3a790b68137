"""Login to the dashboard in a real browser, at a provider of OpenID Connect: who sees what."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timezone
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver.common.by import By

from conf.sections import MongoDB
from conf.settings import load_settings
from dashboard.store import connect
from joulestream.local.ports import any_free
from joulestream.local.process import running
from joulestream.local.services import dashboard_service
from tests.dashboard_seed import seed_normal
from tests.e2e.browser import Browser, headless
from tests.oidc import Provider, provider

pytestmark = [pytest.mark.browser, pytest.mark.stack]

PEOPLE = {
    "linus": {"sub": "1", "preferred_username": "linus", "groups": ["staff"]},
    "root": {"sub": "2", "preferred_username": "root", "groups": ["staff", "admins"]},
    "nobody": {"sub": "3", "groups": ["admins"]},
}
OF_OTHERS = ("digits-mlp-01", "grace", "katherine", "vit-small", "lab-node-2", "team-ada", "fleet-co2")
DATABASE = "dashboard_login"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with headless(tmp_path_factory.mktemp("profile")) as driver:
        yield Browser(driver)


@pytest.fixture(scope="module")
def site(store: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a dashboard to which people log in, over the example data."""
    with connect(MongoDB(uri=store.address)) as client:
        client.drop_database(DATABASE)
        seed_normal(client[DATABASE], datetime.now(timezone.utc))
        with provider(PEOPLE) as door, serving(store.address, door, tmp_path_factory.mktemp("login")) as url:
            yield url
        client.drop_database(DATABASE)


@contextmanager
def serving(uri: str, door: Provider, folder: Path) -> Iterator[str]:
    port = any_free()
    url = f"http://127.0.0.1:{port}"
    secrets = folder / "secrets.toml"
    secrets.write_text(door.secrets_toml(url))
    flags = {"mongodb.uri": uri, "mongodb.database": DATABASE, "dashboard.port": port, "data_dir": folder}
    settings = load_settings({**flags, "access.login": True, "access.user_claim": "preferred_username"})
    service = dashboard_service(settings, folder / "dashboard.log")
    service = replace(service, env={**service.env, "STREAMLIT_SECRETS_FILES": str(secrets)})
    with running(service):
        yield url


@contextmanager
def logged_in(browser: Browser, site: str, name: str, *expected: str) -> Iterator[str]:
    """What a person sees first; logged out again afterwards."""
    browser.open(site, "Please log in.")
    click(browser, "log-in")
    browser.wait_for("Who are you?")
    browser.driver.find_element(By.ID, name).click()
    browser.wait_for(*expected)
    try:
        yield browser.text()
    finally:
        click(browser, "log-out")
        browser.wait_for("Please log in.")


def click(browser: Browser, key: str) -> None:
    browser.wait_until(f"return document.querySelector('.st-key-{key} button')")
    browser.driver.find_element(By.CSS_SELECTOR, f".st-key-{key} button").click()


def test_nothing_is_shown_before_the_login(site: str, browser: Browser) -> None:
    for page in ("", "runs", "run?run=digits-mlp-01", "nodes", "quality", "budgets"):
        shown = browser.open(f"{site}/{page}", "Please log in.")
        assert not [name for name in (*OF_OTHERS, "digits-mlp", "Energy") if name in shown]
    assert browser.complaints() == []


def test_a_person_sees_their_own_runs_and_is_not_told_of_others(site: str, browser: Browser) -> None:
    mine = ("linus, sees their own runs", "Energy and emissions of your")
    with logged_in(browser, site, "linus", *mine) as first:
        seen = [first]
        for page, texts in (
            ("runs", ("resnet50-imagenet", "bert-base-finetune", "2 runs")),
            ("groups?by=Models&range=7+d", ("Energy per", "resnet50")),
            ("forecast", ("Error beside strong naive",)),
            ("budgets", ("Budgets and alerts",)),
            ("run?run=resnet50-imagenet", ("206 Wh used at",)),
        ):
            seen.append(browser.open(f"{site}/{page}", *texts))
        for page in ("nodes", "quality"):
            seen.append(browser.open(f"{site}/{page}", "For administrators"))
        words = {word for text in seen for word in text.replace("/", " ").split()}
        assert words & set(OF_OTHERS) == set()
        assert browser.complaints() == []
        answers = []
        for run_id in ("digits-mlp-01", "not-there"):
            shown = browser.open(
                f"{site}/run?run={run_id}", "There is no run of this id, or it is not yours."
            )
            answers.append(shown.replace(run_id, "RUN"))
        assert answers[0] == answers[1]


def test_an_admin_sees_all(site: str, browser: Browser) -> None:
    with logged_in(browser, site, "root", "root, sees everything"):
        browser.open(f"{site}/run?run=resnet50-imagenet", "206 Wh used at")
        browser.open(f"{site}/quality", "Recently rejected")
        browser.open(f"{site}/nodes", "lab-node-1")


def test_a_login_without_the_claim_sees_nothing(site: str, browser: Browser) -> None:
    with logged_in(browser, site, "nobody", "nothing can be shown to you", "preferred_username"):
        shown = browser.open(f"{site}/run?run=digits-mlp-01", "nothing can be shown to you")
        assert "Energy" not in shown


def test_every_answer_carries_the_security_headers(site: str) -> None:
    for path in ("/", "/_stcore/health", "/no/such/page", "/auth/login"):
        connection = HTTPConnection(site.removeprefix("http://"), timeout=20)
        connection.request("GET", path, headers={"X-Forwarded-Proto": "https"})
        headers = connection.getresponse().headers
        connection.close()
        policy = dict(part.strip().split(" ", 1) for part in headers["Content-Security-Policy"].split(";"))
        assert policy["frame-ancestors"] == "'none'"
        assert "unsafe" not in policy["script-src"] + policy["default-src"]
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "same-origin"
        assert headers["Strict-Transport-Security"] == "max-age=31536000"
        assert all("Secure" in cookie for cookie in headers.get_all("Set-Cookie") or ())


def test_a_login_that_cannot_work_ends_the_process_and_says_why(tmp_path: Path) -> None:
    flags = {"data_dir": tmp_path, "access.login": True, "dashboard.port": any_free()}
    service = dashboard_service(load_settings(flags), tmp_path / "dashboard.log")
    env = {**os.environ, **service.env, "STREAMLIT_SECRETS_FILES": str(tmp_path / "none.toml")}
    done = subprocess.run(service.command, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(
        "dashboard: access.login is on, but [auth] in Streamlit's secrets.toml lacks"
    )
    assert "docs/how-to/dashboard-login.md" in done.stderr
