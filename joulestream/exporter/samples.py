"""What one look at a part found: values by metric and labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from math import isfinite

from joulestream.exporter.metrics import METRICS

# Ids are shorter; other text may be a thousand characters, and a label stands in every sample.
LABEL_LENGTH = 200


@dataclass(frozen=True, slots=True)
class Buckets:
    """A histogram: how many values were at or below each bound, in order; how many in all, and their sum."""

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    count: int
    sum: float


@dataclass(frozen=True, slots=True)
class Sample:
    """One value. Labels are in the order in which the metric declares them."""

    metric: str
    labels: tuple[str, ...]
    value: float | Buckets


@dataclass(slots=True)
class Samples:
    """Gathers samples. A value that is not known (None, not finite) is left out."""

    found: list[Sample] = field(default_factory=list)

    def add(self, name: str, value: float | int | Buckets | None, **labels: str) -> None:
        """Add a value of `joulestream_{name}`; ValueError where the metric has other labels."""
        metric = METRICS[f"joulestream_{name}"]
        if set(labels) != set(metric.labels):
            raise ValueError(f"{metric.name} has labels {metric.labels}, not {tuple(labels)}")
        if value is None or (not isinstance(value, Buckets) and not isfinite(value)):
            return
        texts = tuple(labels[label][:LABEL_LENGTH] for label in metric.labels)
        self.found.append(Sample(metric.name, texts, value if isinstance(value, Buckets) else float(value)))

    def one_of(self, name: str, label: str, state: str | None, states: Sequence[str], **labels: str) -> None:
        """1 for the state that holds and 0 for the others; nothing where it is not known."""
        if state is not None:
            for one in dict.fromkeys((*states, state)):
                self.add(name, float(one == state), **labels, **{label: one})


def number(doc: Mapping[str, object], key: str) -> float | None:
    """A number of a document; None where it is absent or none."""
    value = doc.get(key)
    return None if isinstance(value, bool) or not isinstance(value, (int, float)) else float(value)


def age_s(then: object, now: datetime) -> float | None:
    """Seconds since a time (at least 0: clocks differ); None where it is none."""
    return max(0.0, (now - then).total_seconds()) if isinstance(then, datetime) else None
