"""Each image's entry points import with the packages that the image has, and with no other."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest

from joulestream.images.catalogue import PYTHON, image
from joulestream.images.locked import locked_for
from tests.documentation import ROOT

STREAM = """
import spark_jobs.stream, spark_jobs.reconcile, spark_jobs.forecast.retrain, spark_jobs.workers
import joulestream.cluster.topics, joulestream.cluster.submit, joulestream.cluster.executors
import joulestream.alerting.service, joulestream.exporter, joulestream.verbs.audit, joulestream.audit
from pyspark.sql.pandas.utils import require_minimum_pandas_version, require_minimum_pyarrow_version
require_minimum_pandas_version(), require_minimum_pyarrow_version()  # mapInArrow asks both
"""
PRODUCERS = """
import producers.node_agent, producers.tracker, producers.kafka_link, producers.meters.select
import joulestream.demo.train, joulestream.cluster.health
from joulestream import Tracker
"""
DASHBOARD = """
import streamlit, dashboard.context, dashboard.store, dashboard.charts.run, dashboard.widgets
import joulestream.cluster.health
"""


def only(name: str, folder: Path) -> Path:
    """A folder with links to the packages of an image, and to its rooms."""
    pins = locked_for(ROOT, image(name).extras, PYTHON, "x86_64")
    for pin in pins:
        try:
            found = distribution(pin.name)
        except PackageNotFoundError:
            pytest.skip(f"{pin.name} is not installed here")
        for top in {Path(str(file)).parts[0] for file in found.files or ()} - {"..", "__pycache__"}:
            link = folder / top
            if not link.exists():
                link.symlink_to(Path(str(found.locate_file(top))))
    for room in image(name).rooms:
        (folder / room).symlink_to(ROOT / room)
    return folder


@pytest.mark.skipif(
    sys.platform != "linux" or sys.version_info[:2] != (3, 11),
    reason="the images are for Linux and Python 3.11; so are their packages",
)
@pytest.mark.parametrize(
    ("name", "code"), [("stream", STREAM), ("producers", PRODUCERS), ("dashboard", DASHBOARD)]
)
def test_an_image_has_all_that_its_entry_points_import(tmp_path: Path, name: str, code: str) -> None:
    folder = only(name, tmp_path)
    done = subprocess.run(
        [sys.executable, "-S", "-W", "ignore", "-c", code],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(folder), "HOME": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
