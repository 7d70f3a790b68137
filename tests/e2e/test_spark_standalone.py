"""The streaming job on a real standalone Spark cluster, submitted as a person does; a worker is killed meanwhile."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from pathlib import Path

import psutil
import pytest

from joulestream.cluster.package import CODE, make_package
from tests.conftest import _say
from tests.e2e.auditing import audit
from tests.e2e.live_stack import LiveStack, live_stack
from tests.e2e.standalone import Cluster, ask_to_end, cluster, submit_stream
from tests.e2e.traffic import Traffic, send
from tests.e2e.truth import check_everything

WINDOW_S, WATERMARK_S = 10, 20

pytestmark = [pytest.mark.stack, pytest.mark.spark, pytest.mark.timeout(300)]


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[LiveStack]:
    with live_stack(
        tmp_path / "stack", window_s=WINDOW_S, watermark_s=WATERMARK_S, max_offsets_per_trigger=150, lease_s=5
    ) as live:
        yield live


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    file = tmp_path / "secret"
    file.touch(0o600)
    file.write_text(secrets.token_hex(32))
    return file


@pytest.fixture
def spark_cluster(tmp_path: Path, secret: Path) -> Iterator[Cluster]:
    """A master and two workers that know the secret and encrypt."""
    options = {
        "spark.authenticate": "true",
        "spark.authenticate.secret": secret.read_text(),
        "spark.network.crypto.enabled": "true",
    }
    with cluster(tmp_path / "cluster", 2, options) as made:
        yield made


def test_totals_hold_on_a_standalone_cluster_that_loses_a_worker(
    stack: LiveStack, spark_cluster: Cluster, secret: Path, tmp_path: Path
) -> None:
    package = tmp_path / "dist"
    make_package(package, _say)
    traffic = Traffic(20_261_121, datetime.now(timezone.utc).replace(microsecond=0) - timedelta(hours=2))
    producer = stack.producer()
    try:
        send(producer, traffic.mixture(150))
        secured = {"JOULE_STREAM_AUTH_SECRET_FILE": str(secret)}
        submit_stream(stack, spark_cluster, package, cores=2, wait_s=120, **secured)
        stack.wait("executor on each worker", lambda: all(map(spark_cluster.executors, (0, 1))), 60)
        stack.drain()
        assert secret.read_text() not in command_lines(stack, spark_cluster)
        send(producer, traffic.mixture(400))
        stack.wait_mid_batch()
        spark_cluster.kill_worker(0)
        send(producer, traffic.mixture(100))
        stack.drain()
        assert stack.log_lines("Lost executor")
        check_everything(stack, traffic, WINDOW_S)
        code, found = audit(stack)
        assert (code, found["verdict"]) == (0, "ok"), found
        assert stack.stream is not None
        assert ask_to_end(stack.stream) == 0, stack.tail()
        stack.stream = None
        assert_the_code_came_from_the_zip(spark_cluster, package)
        assert secret.read_text() not in everything_written(tmp_path, secret, spark_cluster)
    finally:
        producer.close()


def command_lines(stack: LiveStack, spark: Cluster) -> str:
    """What the process list shows of the cluster and of the application."""
    assert stack.stream is not None
    heads = [psutil.Process(each.pid) for each in (stack.stream, *spark.processes)]
    family = [*heads, *(child for head in heads for child in head.children(recursive=True))]
    lines = []
    for process in family:
        with suppress(psutil.Error):  # one that has ended meanwhile
            lines.append(" ".join(process.cmdline()))
    assert len(lines) > len(heads)
    return "\n".join(lines)


def assert_the_code_came_from_the_zip(spark: Cluster, package: Path) -> None:
    """Each executor fetched it into its own folder; no Python of the cluster has the project otherwise."""
    for number in (0, 1):
        fetched = [path.name for path in spark.work(number).glob("app-*/*/*.zip")]
        assert CODE in fetched, fetched
    assert (package / CODE).is_file()


def everything_written(folder: Path, secret: Path, spark: Cluster) -> str:
    """All logs; the secret is in none of them."""
    texts = []
    for path in folder.rglob("*"):
        if path.suffix == ".log" or path.name in ("stderr", "stdout"):
            with suppress(OSError):
                texts.append(path.read_text(errors="replace"))
    assert texts
    return "\n".join(texts)
