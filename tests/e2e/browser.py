"""A headless Chromium for the tests of the dashboard, and what a person would see in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.common.exceptions import TimeoutException
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service as Driver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from joulestream.local.browser import HOW, browser_paths

WIDE, NARROW = 1400, 800
PATIENCE_S = 60
# Streamlit's page looks for its server at the deep address first, and then at the root.
PROBES = ("_stcore/health", "_stcore/host-config")
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)


@contextmanager
def headless(profile: Path) -> Iterator[webdriver.Chrome]:
    """A browser with a profile of its own; skips the test where none is installed."""
    paths = browser_paths()
    if paths is None:
        pytest.skip(f"no browser and driver found: {HOW}")
    options = Options()
    options.binary_location = paths[0]
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Driver(paths[1]))
    driver.set_page_load_timeout(PATIENCE_S)
    try:
        yield driver
    finally:
        driver.quit()


class Browser:
    """A headless Chromium, and what a person would see in it."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver
        self._origin = ""

    def open(self, url: str, *expected: str, width: int = WIDE) -> str:
        """Load an address; wait until every expected text is shown and nothing is left to draw."""
        origin = url.partition("://")[2].partition("/")[0]
        if origin != self._origin:
            # What a page says of a server that has ended since is none of this one's.
            self.driver.get("about:blank")
            self.driver.get_log("browser")
            self._origin = origin
        self.driver.set_window_size(width, 1600)
        self.driver.get(url)
        self.wait_for(*expected)
        self.wait_until("return !document.querySelector('[data-testid=\"stSkeleton\"]')")
        return self.text()

    def wait_for(self, *expected: str) -> None:
        try:
            WebDriverWait(self.driver, PATIENCE_S, 0.2).until(
                lambda _: all(t in self.text() for t in expected)
            )
        except TimeoutException:
            missing = [text for text in expected if text not in self.text()]
            pytest.fail(f"{self.driver.current_url} never showed {missing}; it shows:\n{self.text()[:2000]}")

    def wait_until(self, script: str) -> None:
        WebDriverWait(self.driver, PATIENCE_S, 0.2).until(lambda driver: driver.execute_script(script))

    def text(self) -> str:
        """Visible text, and that of the grids, which are drawn on a canvas with a table beside it."""
        script = """
        const grids = [...document.querySelectorAll('[data-testid="stDataFrame"] table')];
        const svg = [...document.querySelectorAll('.js-plotly-plot text')];
        return [document.body.innerText, ...grids.map(g => g.textContent), ...svg.map(t => t.textContent)]
          .join('\\n');"""
        return str(self.driver.execute_script(script))

    def complaints(self) -> list[str]:
        """Exceptions on the page, and errors on the console."""
        found = [e.text for e in self.driver.find_elements(By.CSS_SELECTOR, '[data-testid="stException"]')]
        for entry in self.driver.get_log("browser"):
            probe = "404" in entry["message"] and any(path in entry["message"] for path in PROBES)
            if entry["level"] == "SEVERE" and not probe:
                found.append(entry["message"])
        return found
