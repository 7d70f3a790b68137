"""Series as a Prometheus server gives them: labels, and raw samples at the times of the scrapes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from schemas.errors import PipelineError
from schemas.units import MS_PER_S

# Milliseconds since the epoch, and the value then.
Points: TypeAlias = "tuple[tuple[int, float], ...]"


@dataclass(frozen=True, slots=True)
class Series:
    """One series: `name` and further labels, and its samples in the order of time."""

    name: str
    labels: Mapping[str, str]
    points: Points

    def label(self, *names: str) -> str:
        """The first of these labels that is there and not empty; empty where none is."""
        return next((value for name in names if (value := self.labels.get(name))), "")


def matrix(data: Any) -> list[Series]:
    """The series of a query's answer (`resultType` `matrix`). Raises PipelineError on anything else."""
    try:
        if data["resultType"] != "matrix":
            raise PipelineError(
                f"Prometheus answered with a {data['resultType']}, expected a matrix; correct prometheus.url"
            )
        return [_series(entry) for entry in data["result"]]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise PipelineError(
            f"what answered is no Prometheus API ({type(error).__name__}: {error}); correct prometheus.url"
        ) from None


def _series(entry: Mapping[str, Any]) -> Series:
    labels = {str(name): str(value) for name, value in entry["metric"].items()}
    name = labels.pop("__name__", "")
    values = ((round(float(at) * MS_PER_S), float(text)) for at, text in entry.get("values", ()))
    return Series(name, labels, tuple(point for point in values if math.isfinite(point[1])))


def joined(parts: Iterable[Series]) -> list[Series]:
    """One series for each set of labels, of answers for times one after the other."""
    found: dict[tuple[str, tuple[tuple[str, str], ...]], Series] = {}
    for part in parts:
        key = (part.name, tuple(sorted(part.labels.items())))
        held = found.get(key)
        found[key] = part if held is None else Series(part.name, part.labels, held.points + part.points)
    return list(found.values())
