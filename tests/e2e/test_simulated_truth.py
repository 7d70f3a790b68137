"""A fleet whose truth is known, sent through the real broker, is reported to the last joule."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.auditing import audit
from tests.e2e.live_stack import ROOT, LiveStack, live_stack

pytestmark = [pytest.mark.stack, pytest.mark.spark, pytest.mark.timeout(400)]

IMPURE = ("--duplicates", "0.1", "--disorder", "0.05", "--malformed", "0.02", "--late", "0.03")
FLEET = ("--nodes", "3", "--runs", "8", "--days", "0.3", "--faults", *IMPURE)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveStack]:
    """Small batches, so that duplicates and late events fall into others than their first."""
    with live_stack(tmp_path_factory.mktemp("truth"), max_offsets_per_trigger=400) as live:
        yield live


def joule(stack: LiveStack, *arguments: str) -> Any:
    """The JSON that a verb prints."""
    done = subprocess.run(
        [sys.executable, "-m", "joulestream", *arguments, "--json"],
        env=stack.env,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def reported(stack: LiveStack, by: str) -> dict[str, dict[str, Any]]:
    found = joule(stack, "report", "--by", by)
    return {row["key"]: row for row in [*found["rows"], {"key": "total", **found["total"]}]}


@pytest.mark.parametrize("seed", [7])
def test_reports_and_audit_agree_with_the_truth(stack: LiveStack, seed: int) -> None:
    stack.start_stream()
    truth = joule(stack, "simulate", *FLEET, "--seed", str(seed), "--send")
    stack.drain()
    for by, name in (
        ("run", "run_id"),
        ("user", "user_id"),
        ("model", "model_name"),
        ("region", "region_iso"),
    ):
        found = reported(stack, by)
        expected = {row[name]: row for row in truth[f"{by}s"]}
        assert found.keys() == {*expected, "total"}
        for key, row in expected.items():
            assert found[key]["energy_kwh"] == pytest.approx(row["energy_kwh"], rel=1e-9), (by, key)
            assert found[key]["emissions_kg"] == pytest.approx(row["emissions_kg"], rel=1e-9), (by, key)
            assert found[key]["n_events"] == row["events"], (by, key)
        assert found["total"]["energy_kwh"] == pytest.approx(truth["total"]["energy_kwh"], rel=1e-9)
    nodes = reported(stack, "node")
    for row in truth["nodes"]:
        assert nodes[row["node_id"]]["energy_kwh"] == pytest.approx(row["energy_kwh"], rel=1e-9)
        assert nodes[row["node_id"]]["n_samples"] == row["samples"]
    code, found = audit(stack)
    assert (code, found["verdict"]) == (0, "ok")
    for topic, counts in truth["messages"].items():
        source = found["sources"]["training" if topic == "training.events" else "node"]
        assert source["consumed"] == counts["messages"], topic
        assert source["accepted"] == counts["accepted"], topic
        assert source["duplicates"] == counts["duplicate"], topic
        assert source["rejected"] == counts["rejected"], topic
