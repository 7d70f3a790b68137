"""The streaming job on a standalone cluster, its checkpoints in an S3-compatible store, killed and started again.

Needs the jars of the set `s3` in the cache (559 MB; `joule images package --s3` fetches them), and a store:
`JOULE_TEST_S3_CHECKPOINTS=s3a://bucket/folder AWS_ENDPOINT_URL=http://…`, with keys in the environment.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from pyarrow import fs

from joulestream.cluster.package import make_package
from joulestream.images.staging import copy_jars
from joulestream.local.jars import missing_jars
from schemas import documents
from spark_jobs.object_store import JAR_SET
from tests.conftest import _say
from tests.e2e.auditing import audit
from tests.e2e.live_stack import LiveStack, live_stack
from tests.e2e.standalone import QUERIES, Cluster, ask_to_end, cluster, submit_stream
from tests.e2e.traffic import Traffic, send
from tests.e2e.truth import check_everything

WINDOW_S, WATERMARK_S = 10, 20
STORE = os.environ.get("JOULE_TEST_S3_CHECKPOINTS", "").rstrip("/")

pytestmark = [
    pytest.mark.stack,
    pytest.mark.spark,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(not STORE, reason="JOULE_TEST_S3_CHECKPOINTS names no store"),
    pytest.mark.skipif(
        bool(missing_jars(sets=(JAR_SET,))), reason="the jars of the set s3 are not in the cache"
    ),
]


@pytest.fixture
def place() -> str:
    """A folder of the store that nobody has used."""
    return f"{STORE}/{uuid.uuid4().hex}"


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[LiveStack]:
    with live_stack(
        tmp_path / "stack", window_s=WINDOW_S, watermark_s=WATERMARK_S, max_offsets_per_trigger=150, lease_s=5
    ) as live:
        yield live


@pytest.fixture
def spark_cluster(tmp_path: Path) -> Iterator[Cluster]:
    with cluster(tmp_path / "cluster", 1, {}) as made:
        yield made


def submit(stack: LiveStack, spark: Cluster, place: str, package: Path) -> None:
    """The jars of S3 lie on every machine."""
    more = [f"local://{jar}" for jar in sorted((package / JAR_SET).iterdir())]
    submit_stream(stack, spark, package, more, cores=1, wait_s=400, JOULE_STREAM_CHECKPOINT_DIR=place)


def test_totals_hold_where_the_checkpoints_are_in_s3(
    stack: LiveStack, spark_cluster: Cluster, place: str, tmp_path: Path
) -> None:
    package = tmp_path / "dist"
    make_package(package, _say)
    copy_jars([JAR_SET], package / JAR_SET, _say)
    traffic = Traffic(20_261_121, datetime.now(timezone.utc).replace(microsecond=0) - timedelta(hours=2))
    producer = stack.producer()
    try:
        send(producer, traffic.mixture(150))
        submit(stack, spark_cluster, place, package)
        stack.drain(400)
        send(producer, traffic.mixture(300))
        stack.wait_mid_batch()
        stack.kill_stream("all")
        stack.db[documents.LEASES].update_many({}, {"$set": {"state": "killed"}})
        send(producer, traffic.mixture(100))
        submit(stack, spark_cluster, place, package)
        stack.drain(400)
        check_everything(stack, traffic, WINDOW_S)
        code, found = audit(stack)
        assert (code, found["verdict"]) == (0, "ok"), found
        assert stack.stream is not None
        assert ask_to_end(stack.stream) == 0, stack.tail()
        stack.stream = None
        assert (
            stack.db[documents.GENERATIONS].count_documents({}) == QUERIES
        )  # it went on from its checkpoint
        written = names_in(place)
        assert [name for name in written if "/state/" in name], written
        assert not [name for name in written if ".tmp" in name], "a draft that was to be renamed"
        assert os.environ["AWS_SECRET_ACCESS_KEY"] not in stack.log.read_text(errors="replace")
    finally:
        producer.close()


def names_in(place: str) -> list[str]:
    """The objects below a folder of the store."""
    scheme, _, host = os.environ["AWS_ENDPOINT_URL"].partition("://")
    store = fs.S3FileSystem(endpoint_override=host, scheme=scheme, region="us-east-1")
    found = store.get_file_info(fs.FileSelector(place.removeprefix("s3a://"), recursive=True))
    return [info.path for info in found if info.is_file]
