"""What Spark is told: checkpoints on this machine's disk are plain files, others are their own file system's."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest

from conf.settings import load_settings
from spark_jobs import io
from spark_jobs.session import is_local, options_of
from spark_jobs.sources import NODE, TRAINING, Source

MANAGER = "spark.sql.streaming.checkpointFileManagerClass"


@pytest.mark.parametrize("place", ["/data/checkpoints", "checkpoints", "file:///data/checkpoints"])
def test_folders_of_this_machine_are_local(place: str) -> None:
    assert is_local(place)


@pytest.mark.parametrize("place", ["s3a://bucket/checkpoints", "hdfs://names:9000/checkpoints"])
def test_other_file_systems_keep_sparks_own_way_to_write_a_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    monkeypatch.setenv("PYTHONPATH", "")  # the session sets it first
    assert not is_local(place)
    elsewhere = load_settings({"data_dir": tmp_path, "stream.checkpoint_dir": place})
    assert MANAGER not in options_of(elsewhere)
    assert MANAGER in options_of(load_settings({"data_dir": tmp_path}))


@pytest.mark.parametrize(
    ("source", "asked_s", "expected"),
    [
        (TRAINING, 0.0, "0 milliseconds"),
        (TRAINING, 5.0, "5000 milliseconds"),
        (NODE, 0.0, "2000 milliseconds"),
        (NODE, 5.0, "5000 milliseconds"),
    ],
)
def test_batches_of_node_samples_leave_the_machine_to_the_training_events(
    source: Source, asked_s: float, expected: str
) -> None:
    stream: Any = MagicMock()
    for step in ("outputMode", "foreachBatch", "queryName", "option", "trigger"):
        getattr(stream, step).return_value = stream
    io.write_batches(MagicMock(writeStream=stream), MagicMock(), source, "folder", asked_s)
    stream.trigger.assert_called_once_with(processingTime=expected)
