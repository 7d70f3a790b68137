"""The tutorial does what it says: its files are written and its commands are run, in order, on a stack of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from joulestream.local.ports import any_free
from tests.documentation import ROOT, blocks, text_of

BLOCKS = blocks(text_of("docs/tutorials/measure-your-training.md"))
DOWN = "./joule down"


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder in which `./joule` and `.venv` are those of this run; whatever was started there is ended."""
    launcher = tmp_path / "joule"
    launcher.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m joulestream "$@"\n')
    launcher.chmod(0o755)
    (tmp_path / ".venv").symlink_to(sys.prefix)
    yield tmp_path
    run(DOWN, tmp_path)


def environment(folder: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("JOULE_")}
    here = {
        "JOULE_DATA_DIR": str(folder / "data"),
        "PYTHONPATH": str(ROOT),
        "PATH": f"{sys.prefix}/bin:{kept['PATH']}",
    }
    return kept | here


def run(commands: str, folder: Path, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-euc", commands],
        cwd=folder,
        env=environment(folder) | more,
        text=True,
        capture_output=True,
        timeout=280,
        check=False,
    )


@pytest.mark.stack
@pytest.mark.spark
@pytest.mark.timeout(400)
def test_the_tutorial_measures_two_runs(folder: Path) -> None:
    base = str(any_free())
    printed: list[str] = []
    runs: list[dict[str, object]] = []
    for language, content in BLOCKS:
        if language == "python":
            name = content.splitlines()[0].removeprefix("# ")
            (folder / name).write_text(content)
            continue
        assert language == "bash"
        if DOWN in content:
            runs = json.loads(run("./joule runs ls --user ann --json", folder).stdout)
        done = run(content, folder, JOULE_LOCAL_PORT_BASE=base)
        assert done.returncode == 0, f"{content}{done.stdout}{done.stderr}"
        printed.append(done.stdout + done.stderr)
    text = "".join(printed)
    assert "dashboard  http://127.0.0.1:" in text
    assert "Wh" in text
    assert "g CO2e" in text
    assert [each["status"] for each in runs] == ["completed", "completed"]
    assert all(float(str(each["energy_kwh"])) > 0 for each in runs)
    assert {each["region_iso"] for each in runs} == {"DEU"}
    assert [each["best_accuracy"] is not None for each in runs] == [True, False]
