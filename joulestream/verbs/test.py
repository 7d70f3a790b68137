"""Run everything that CI runs; with --fast only the layers without Spark, servers and browser."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from joulestream.local.browser import HOW, browser_paths
from joulestream.local.process import python
from joulestream.output import ERROR, say

ROOT = Path(__file__).resolve().parents[2]
FAST = ("-m", "not stack and not spark and not browser", "tests/unit", "tests/contract")
context_settings = {"allow_extra_args": True, "ignore_unknown_options": True}


def command(
    ctx: typer.Context,
    fast: Annotated[
        bool, typer.Option("--fast", help="Leave out what needs Spark, the servers or a browser.")
    ] = False,
) -> None:
    """Run everything that CI runs: ruff, mypy, import rules, then pytest. Further arguments go to pytest.

    Pytest's own summary stands last. Exit code: 0 if all is well, 1 if a check or a test fails.
    """
    failed = [name for name, check in _checks() if not _run(name, check)]
    if not fast:
        _prepare()
        if browser_paths() is None:
            say(f"no browser with its driver: the browser tests are left out; {HOW}")
    if failed:
        say(f"failed so far: {', '.join(failed)}; the tests run all the same")
    code = _exit_code(python("pytest", *(FAST if fast else ()), *ctx.args))
    if code == 0 and failed:
        raise typer.Exit(ERROR)
    raise typer.Exit(code)


def _checks() -> list[tuple[str, list[str]]]:
    checks = [("ruff", python("ruff", "check", ".")), ("mypy", python("mypy"))]
    if sys.version_info >= (3, 11):  # import-linter's own limit
        checks.append(("import rules", [str(Path(sys.executable).parent / "lint-imports")]))
    return checks


def _run(name: str, check: Sequence[str]) -> bool:
    say(f"-- {name}")
    return _exit_code(check) == 0


def _exit_code(command: Sequence[str]) -> int:
    sys.stdout.flush()
    return subprocess.run(command, cwd=ROOT, check=False).returncode


def _prepare() -> None:
    """Have the Java and the jars that Spark and the broker need, before a test waits for them."""
    from joulestream.local.jars import ensure_jars
    from joulestream.local.java import find_java

    java = find_java()
    ensure_jars(java, say)
    os.environ["JAVA_HOME"] = str(java.home)
