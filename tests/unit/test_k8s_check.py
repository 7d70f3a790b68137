"""The part of `joule k8s check` that needs no cluster: what it does when the way to the dashboard breaks."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from joulestream.cluster.check import command, page
from joulestream.cluster.check.kubectl import Kubectl
from schemas.errors import PipelineError, RetryableError


class Ill(BaseHTTPRequestHandler):
    """A dashboard that says that it is not well."""

    def do_GET(self) -> None:
        self.send_error(503)

    def log_message(self, *_: object) -> None:
        """Nothing is printed."""


@pytest.fixture
def ill() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Ill) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_dashboard_that_is_not_well_is_no_broken_line(ill: str) -> None:
    with pytest.raises(PipelineError, match="answers 503") as told:
        page.healthy(ill)
    assert not isinstance(told.value, RetryableError)
    with pytest.raises(RetryableError, match="does not answer"):
        page.healthy("http://127.0.0.1:1")


@pytest.mark.parametrize(("breaks", "tries"), [(0, 1), (command.FORWARDS - 1, command.FORWARDS)])
def test_a_broken_forward_is_made_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, breaks: int, tries: int
) -> None:
    seen = []

    def pictures(*_: object) -> str:
        seen.append(1)
        if len(seen) <= breaks:
            raise RetryableError("the line is cut")
        return "pictures"

    monkeypatch.setattr(command, "_pictures", pictures)
    assert command._dashboard(Kubectl(), tmp_path / "p") == "pictures"
    assert len(seen) == tries


@pytest.mark.parametrize(("error", "tries"), [(RetryableError, command.FORWARDS), (PipelineError, 1)])
def test_what_stays_broken_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: type[PipelineError], tries: int
) -> None:
    seen = []

    def pictures(*_: object) -> str:
        seen.append(1)
        raise error("as before")

    monkeypatch.setattr(command, "_pictures", pictures)
    with pytest.raises(error, match="as before"):
        command._dashboard(Kubectl(), tmp_path)
    assert len(seen) == tries


def test_a_text_that_never_comes_is_told_with_what_there_is() -> None:
    texts = iter(["empty", "12 Wh"])
    page._await(lambda: next(texts), "Wh", "http://here", 30)
    with pytest.raises(PipelineError, match="never shows 'Wh', but 'empty'"):
        page._await(lambda: "empty", "Wh", "http://here", 0)
