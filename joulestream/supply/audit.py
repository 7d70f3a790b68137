"""What is known against the locked packages: pip-audit asks a database; whom it could not ask about is said too."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from joulestream.supply.lock import LOCK_FILE
from schemas.errors import PipelineError, RetryableError

TIMEOUT_S = 15
PATIENCE_S = 600
Run = Callable[[Sequence[str]], tuple[int, str, str]]


@dataclass(frozen=True)
class Known:
    """A vulnerability of a locked package."""

    package: str
    version: str
    id: str
    fixed_in: tuple[str, ...]


@dataclass(frozen=True)
class Audit:
    """What the database knew. `unknown`: packages of which it said nothing, so that nothing is known of them."""

    known: tuple[Known, ...]
    n_asked: int
    unknown: tuple[str, ...]


def audit(lock: Path = LOCK_FILE, service: str = "pypi", run: Run | None = None) -> Audit:
    """Ask about the packages that this machine would install.

    Raises PipelineError where pip-audit is not installed or fails, RetryableError where the database does not answer.
    """
    if run is None and find_spec("pip_audit") is None:
        raise PipelineError("pip-audit is not installed: pip install '.[supply]'")
    code, out, err = (run or _run)(command(lock, service))
    try:
        answer = json.loads(out)
        return judged(answer["dependencies"])
    except (ValueError, KeyError, TypeError, AttributeError):
        pass
    last = (err.strip().splitlines() or ["it said nothing"])[-1][:300]
    if any(
        word in err
        for word in ("ConnectionError", "ServiceError", "Timeout", "timed out", "HTTPSConnectionPool")
    ):
        raise RetryableError(
            f"the database of vulnerabilities ({service}) does not answer: {last}; nothing is known of any package. "
            "Try again where there is a network"
        )
    raise PipelineError(f"pip-audit ended with {code}: {last}")


def command(lock: Path, service: str) -> list[str]:
    """pip-audit of the lock as it is, resolving and installing nothing."""
    options = ["--disable-pip", "--require-hashes", "--format", "json", "--progress-spinner", "off"]
    options += ["--vulnerability-service", service, "--timeout", str(TIMEOUT_S)]
    return [sys.executable, "-m", "pip_audit", "--requirement", str(lock), *options]


def judged(dependencies: Sequence[Mapping[str, Any]]) -> Audit:
    """From pip-audit's answer. It passes over a package that its database does not have, and still ends with 0."""
    unknown = tuple(str(item["name"]) for item in dependencies if "skip_reason" in item)
    known = tuple(
        Known(str(item["name"]), str(item["version"]), str(fault["id"]), tuple(fault.get("fix_versions", ())))
        for item in dependencies
        for fault in item.get("vulns", ())
    )
    return Audit(known, len(dependencies), unknown)


def _run(arguments: Sequence[str]) -> tuple[int, str, str]:
    try:
        done = subprocess.run(
            list(arguments), capture_output=True, text=True, timeout=PATIENCE_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise RetryableError(f"pip-audit gave no answer within {PATIENCE_S} s; try again") from None
    return done.returncode, done.stdout, done.stderr
