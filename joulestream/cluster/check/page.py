"""The dashboard as a person would open it: through a port-forward, in a real browser."""

from __future__ import annotations

import re
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from joulestream.cluster.check.kubectl import Kubectl
from joulestream.local.browser import HOW, browser_paths
from schemas.errors import PipelineError, RetryableError

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
    """Raise PipelineError unless the dashboard's own health check says ok."""
    with urllib.request.urlopen(f"{address}/_stcore/health", timeout=20) as answer:  # noqa: S310 - our own address
        if answer.status != 200:
            raise PipelineError(f"the dashboard's health check answers {answer.status}")


def screenshot(address: str, expected: str, file: Path, wait_s: float = 90.0) -> None:
    """Open a page, wait for a text on it, and keep a picture. Raises PipelineError where the text never comes."""
    from selenium import webdriver
    from selenium.webdriver.common.by import By

    paths = browser_paths()
    if paths is None:
        raise PipelineError(f"there is no headless browser here; {HOW}")
    options = webdriver.ChromeOptions()
    options.binary_location = paths[0]
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1400,1800"):
        options.add_argument(argument)
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(paths[1]))
    try:
        browser.get(address)
        until = time.monotonic() + wait_s
        while expected not in (text := browser.find_element(By.TAG_NAME, "body").text):
            if time.monotonic() > until:
                raise PipelineError(f"{address} never shows {expected!r}, but {text[:300]!r}")
            time.sleep(1)
        time.sleep(3)  # for the charts below the text
        browser.save_screenshot(str(file))
    finally:
        browser.quit()
