"""Looks for the headless browser that the dashboard's tests drive."""

from __future__ import annotations

import shutil
from pathlib import Path

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MAC_BROWSER = "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"
HOW = (
    "install one (Debian: apt-get install chromium chromium-driver; macOS: brew install --cask chromedriver)"
)


def browser_paths() -> tuple[str, str] | None:
    """Paths of a Chromium or Chrome and of its driver; None if either is missing."""
    browser = next((path for path in map(shutil.which, BROWSERS) if path), None)
    if browser is None and Path(MAC_BROWSER).is_file():
        browser = MAC_BROWSER
    driver = shutil.which("chromedriver")
    return (browser, driver) if browser and driver else None
