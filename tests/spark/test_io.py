"""The folder of the checkpoints: said at once where it cannot be written to, and left as it was."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from schemas.errors import PipelineError
from spark_jobs import io

pytestmark = pytest.mark.spark


def test_a_folder_that_can_be_written_to_stays_as_it_was(spark: SparkSession, tmp_path: Path) -> None:
    io.require_writable(spark, str(tmp_path / "new"))
    io.require_writable(spark, f"file://{tmp_path}/new/")
    assert [file for file in tmp_path.rglob("*") if file.is_file()] == []


@pytest.mark.parametrize("place", ["/proc/nowhere", "nothing://bucket/folder"])
def test_one_that_cannot_is_named_with_the_reason_and_the_setting(spark: SparkSession, place: str) -> None:
    with pytest.raises(PipelineError, match=r"cannot be used .*JOULE_STREAM_CHECKPOINT_DIR") as error:
        io.require_writable(spark, place)
    assert place in str(error.value)
    assert len(str(error.value)) < 700
