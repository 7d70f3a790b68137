"""The dashboard as a person would open it: through a port-forward, in a real browser."""

from __future__ import annotations

import re
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from joulestream.cluster.check.kubectl import Kubectl
from joulestream.local.browser import HOW, browser_paths
from schemas.errors import PipelineError, RetryableError

# Streamlit shows a skeleton in the place of a part that is not there yet; a chart is there before it is drawn.
DRAWN = """
return !document.querySelector('[data-testid="stSkeleton"]')
  && [...document.querySelectorAll('[data-testid="stPlotlyChart"]')].every(chart => chart.querySelector('.main-svg'))
"""
FORWARDING = re.compile(r"Forwarding from 127\.0\.0\.1:(\d+)")


@contextmanager
def forwarded(kubectl: Kubectl, service: str, port: int) -> Iterator[str]:
    """A Service's address on this machine, while the context lasts. Raises RetryableError."""
    command = [kubectl.path(), "--namespace", kubectl.namespace, "port-forward", f"svc/{service}", f":{port}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as forward:
        try:
            said = forward.stdout.readline() if forward.stdout else ""
            found = FORWARDING.search(said)
            if found is None:
                raise RetryableError(f"kubectl port-forward svc/{service} says {said.strip()!r}")
            yield f"http://127.0.0.1:{found[1]}"
        finally:
            forward.terminate()


def healthy(address: str) -> None:
    """Raise PipelineError unless the dashboard's own health check says ok, RetryableError where nothing answers."""
    try:
        urllib.request.urlopen(f"{address}/_stcore/health", timeout=20).close()  # noqa: S310 - our own address
    except urllib.error.HTTPError as error:
        error.close()
        raise PipelineError(f"the dashboard's health check answers {error.code}") from None
    except OSError as error:
        raise RetryableError(f"{address} does not answer ({error})") from None


def screenshot(address: str, expected: str, file: Path, wait_s: float = 90.0) -> None:
    """Open a page, wait for a text on it, and keep a picture.

    Raises PipelineError where the text never comes, RetryableError where the browser cannot open the page.
    """
    from selenium import webdriver
    from selenium.common.exceptions import WebDriverException
    from selenium.webdriver.common.by import By

    paths = browser_paths()
    if paths is None:
        raise PipelineError(f"there is no headless browser here; {HOW}")
    options = webdriver.ChromeOptions()
    options.binary_location = paths[0]
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1400,1800"):
        options.add_argument(argument)
    try:
        browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(paths[1]))
        try:
            browser.get(address)
            _await(lambda: browser.find_element(By.TAG_NAME, "body").text, expected, address, wait_s)
            until = time.monotonic() + wait_s
            while not browser.execute_script(DRAWN) and time.monotonic() < until:
                time.sleep(1)
            time.sleep(2)  # charts fade in
            browser.save_screenshot(str(file))
        finally:
            browser.quit()
    except WebDriverException as error:
        raise RetryableError(f"the browser cannot show {address}: {error.msg}") from None


def _await(read: Callable[[], str], expected: str, address: str, wait_s: float) -> None:
    """Wait until a page has a text. Raises PipelineError."""
    until = time.monotonic() + wait_s
    while expected not in (text := read()):
        if time.monotonic() > until:
            raise PipelineError(f"{address} never shows {expected!r}, but {text[:300]!r}")
        time.sleep(1)
