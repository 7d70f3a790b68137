"""What the tests of the exporter's parts share."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timezone
from typing import Any

from conf.settings import Settings, load_settings
from joulestream.exporter.samples import Sample
from spark_jobs.store import Address

NOW = datetime.now(timezone.utc).replace(second=30, microsecond=0)


Values = dict[tuple[str, ...], Any]


def values(samples: Iterable[Sample]) -> Values:
    """By name, without `joulestream_`, and labels."""
    return {(sample.metric.removeprefix("joulestream_"), *sample.labels): sample.value for sample in samples}


def settings(address: Address, **more: Any) -> Settings:
    """Settings with this database; further ones with `__` for the dot."""
    flags = {key.replace("__", "."): value for key, value in more.items()}
    return load_settings({"mongodb.uri": address.uri, "mongodb.database": address.database, **flags})
