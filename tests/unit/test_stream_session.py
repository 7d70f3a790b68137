"""What Spark is told: checkpoints on this machine's disk are plain files, others are their own file system's."""

from __future__ import annotations

from pathlib import Path

import pytest

from conf.settings import load_settings
from spark_jobs.session import is_local, options_of

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
