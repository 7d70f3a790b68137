"""What Spark's Python workers find on their import path."""

from __future__ import annotations

import sys
from pathlib import Path

from spark_jobs.workers import without_archives


def test_archives_go_where_their_packages_are_installed() -> None:
    path = ["/spark/pyspark.zip", "/spark/py4j-src.zip", "/spark/spark-core.jar", *sys.path]
    assert without_archives(path) == [entry for entry in sys.path if not entry.endswith((".zip", ".jar"))]


def test_copies_stay_where_nothing_else_holds_their_packages(tmp_path: Path) -> None:
    path = ["/spark/pyspark.zip", "/spark/py4j-src.zip", "/spark/spark-core.jar", str(tmp_path)]
    assert without_archives(path) == ["/spark/pyspark.zip", "/spark/py4j-src.zip", str(tmp_path)]
