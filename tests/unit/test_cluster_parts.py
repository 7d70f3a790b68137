"""Health checks, the wait for servers, the store's command, and the package for spark-submit."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from datetime import datetime, timedelta, timezone
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from conf.settings import Kafka
from conf.trouble import Refused
from joulestream.cluster import health, package, store
from joulestream.cluster.health import lease_problem, port, spool_problem
from joulestream.cluster.topics import patiently
from joulestream.local.ports import any_free
from joulestream.local.topics import min_insync, topic_options
from schemas import topics
from schemas.errors import PipelineError, RetryableError

NOW = datetime(2024, 3, 1, 12, tzinfo=timezone.utc)


def lease(query: str, **changed: Any) -> dict[str, Any]:
    return {"_id": query, "host": "pod-1", "state": "running", "renewed_at": NOW, **changed}


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({}, None),
        ({"host": "pod-0"}, "held by pod-0, and this is pod-1"),
        ({"state": "starting"}, "is starting"),
        ({"renewed_at": NOW - timedelta(seconds=21)}, "last said at 11:59:39 UTC"),
    ],
    ids=["well", "another holds it", "starting", "silent"],
)
def test_the_stream_is_well_while_it_holds_its_leases(changed: dict[str, Any], words: str | None) -> None:
    problem = lease_problem([lease("training"), lease("node", **changed)], "pod-1", 20, NOW)
    assert problem is None if words is None else words in (problem or "")


def test_a_query_that_never_started_is_not_well() -> None:
    assert "node has not started" in (lease_problem([lease("training")], "pod-1", 20, NOW) or "")


def test_the_agent_is_well_while_its_spool_changes(tmp_path: Path) -> None:
    assert "no sample yet" in (spool_problem(tmp_path / "none", 2, 0) or "")
    file = tmp_path / "agent.spool.db-wal"
    file.touch()
    written_s = file.stat().st_mtime
    assert spool_problem(tmp_path, 2, written_s + 29) is None
    assert "31 s old" in (spool_problem(tmp_path, 2, written_s + 31) or "")
    assert spool_problem(tmp_path, 60, written_s + 179) is None


def test_a_port_and_a_wrong_check_have_their_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    assert port(any_free()) is not None
    assert health.main(["port", str(any_free())]) == 1
    for wrong in (["wine"], ["port"], ["store", "1"], ["store", "--alive"]):
        with pytest.raises(SystemExit, match="2"):
            health.main(wrong)
    assert "--alive is for stream and alerts" in capsys.readouterr().err


class Time:
    """Time that passes only while something sleeps."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def now(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


def tries(*outcomes: Any) -> Any:
    left = list(outcomes)

    def work() -> Any:
        outcome = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    return work


def test_servers_that_start_are_waited_for_and_that_is_said_once() -> None:
    said: list[str] = []
    time = Time()
    away = RetryableError("away")
    assert patiently("Kafka", tries(away, away, "done"), 60, said.append, time.now, time.sleep) == "done"
    assert said == ["waiting for Kafka (up to 60 s): away"]


def test_patience_has_an_end() -> None:
    time = Time()
    with pytest.raises(RetryableError, match=r"away \(waited 60 s\)"):
        patiently("Kafka", tries(RetryableError("away")), 60, lambda _: None, time.now, time.sleep)
    assert 60 <= time.now_s < 65


@pytest.mark.parametrize("error", [Refused("wrong password"), PipelineError("no such setting")])
def test_a_server_that_refuses_is_not_waited_for(error: PipelineError) -> None:
    time = Time()
    with pytest.raises(type(error)):
        patiently("Kafka", tries(error), 60, lambda _: None, time.now, time.sleep)
    assert time.now_s == 0


@pytest.mark.parametrize(("replicas", "expected"), [(1, 1), (2, 1), (3, 2), (5, 2)])
def test_a_message_counts_when_two_replicas_have_it_if_one_more_may_be_away(
    replicas: int, expected: int
) -> None:
    assert min_insync(replicas) == expected
    options = topic_options(topics.TRAINING_EVENTS, Kafka(replication_factor=replicas))
    assert options["configs"]["min.insync.replicas"] == str(expected)


def test_the_store_reads_no_configuration_that_lies_about(tmp_path: Path) -> None:
    command = store.command_of({"STORE_PORT": "1", "STORE_DIR": "/d"}, ["--auth"], tmp_path / "empty.toml")
    pairs = dict(pairwise(command))
    assert (pairs["--config"], pairs["--port"], pairs["--storage-path"]) == (
        f"{tmp_path}/empty.toml",
        "1",
        "/d",
    )
    assert command[-1] == "--auth"


def test_the_zip_is_the_same_byte_for_byte_and_holds_no_front_door(tmp_path: Path) -> None:
    first, second = (package.write_zip(tmp_path / name).read_bytes() for name in ("a.zip", "b.zip"))
    assert first == second
    names = zipfile.ZipFile(tmp_path / "a.zip").namelist()
    assert {"schemas/data/grid_intensity.json", "spark_jobs/stream.py", "conf/settings.py"} <= set(names)
    assert {name.split("/")[0] for name in names} == set(package.ROOMS)


def test_the_code_works_out_of_the_zip(tmp_path: Path) -> None:
    """Nothing reads a file beside itself: data come as package data, and the stream's main needs its zip only."""
    archive = package.write_zip(tmp_path / "code.zip")
    code = (
        f"import sys; sys.path[:] = [{str(archive)!r}] + [p for p in sys.path if p and p != {str(package.ROOT)!r}]\n"
        "import spark_jobs.stream, spark_jobs.reconcile, spark_jobs.forecast.retrain, spark_jobs.session\n"
        "from schemas.carbon import intensity\n"
        "from conf.settings import load_settings\n"
        "load_settings()\n"
        "assert intensity('DE').zone == 'DEU'\n"
        "assert not spark_jobs.session.ROOT.is_dir()\n"
        "ours = ('schemas', 'conf', 'spark_jobs')\n"
        "modules = [m for n, m in sys.modules.items() if n.split('.')[0] in ours]\n"
        "sys.exit([m.__file__ for m in modules if '.zip' not in m.__file__] or 0)\n"
    )
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
