"""Processes of the project behind the secure servers: begun, watched, asked, ended; none may show a secret."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from joulestream.local.process import ROOT
from tests.contract.secure import SECRETS
from tests.waiting import until


def hides(name: str, text: str) -> str:
    """The text, seen to hold no secret."""
    for secret in SECRETS:
        at = text.find(secret)
        assert at < 0, f"{name} shows a secret: …{text[max(0, at - 200) : at + 20]}…"
    return text


class Watched:
    """A process and those that it starts, with one log; verbs run in the same environment."""

    def __init__(self, log: Path, env: Mapping[str, str]) -> None:
        self.log, self.env = log, env
        self.process: subprocess.Popen[bytes] | None = None

    def begin(self, command: Sequence[str], **more_env: str) -> None:
        """Start it, as the leader of a session of its own."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**self.env, **more_env},
                cwd=ROOT,
                start_new_session=True,
            )

    def text(self) -> str:
        """All that it has said."""
        return self.log.read_text(errors="replace")

    def wait(self, what: str, condition: Callable[[], bool], timeout_s: float) -> None:
        """Wait for a condition; a process that has ended fails at once."""
        process = self._begun()

        def holds() -> bool:
            assert process.poll() is None, f"it ended\n{self.text()[-3000:]}"
            return condition()

        until(holds, timeout_s, 0.2, lambda: f"no {what}\n{self.text()[-3000:]}")

    def family(self) -> list[psutil.Process]:
        """The process and all that came of it."""
        leader = psutil.Process(self._begun().pid)
        return [leader, *leader.children(recursive=True)]

    def verb(self, *arguments: str) -> str:
        """All that a verb prints, seen to hold no secret."""
        done = subprocess.run(
            [sys.executable, "-m", "joulestream", *arguments],
            env=self.env,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        hides(" ".join(arguments), done.stdout + done.stderr)
        return done.stdout

    def kill(self) -> None:
        """End it and its family, at once."""
        if self.process is None:
            return
        for member in self.family() if self.process.poll() is None else []:
            with suppress(psutil.NoSuchProcess):
                member.kill()
        self.process.wait()

    def _begun(self) -> subprocess.Popen[bytes]:
        assert self.process is not None, "it has not been begun"
        return self.process
