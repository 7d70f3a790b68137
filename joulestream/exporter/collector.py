"""All parts together: looks where a look is due, and says what is known now."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

from joulestream import __version__
from joulestream.exporter.looks import Part, look
from joulestream.exporter.samples import Sample, Samples

# Below Prometheus's usual `scrape_timeout` of 10 s.
PATIENCE_S = 5.0
STORE, KAFKA, DASHBOARD = "stream", "kafka", "dashboard"


@dataclass(slots=True)
class Collector:
    """Reads the parts. `of_store` names those whose values are nothing while the store is away."""

    parts: Sequence[Part]
    of_store: frozenset[str] = frozenset()
    patience_s: float = PATIENCE_S
    n_refused: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def refused(self) -> None:
        """Count a request without the right token."""
        with self._lock:
            self.n_refused += 1

    def samples(self) -> list[Sample]:
        """What can be said now."""
        look(self.parts, self.patience_s)
        shown = {part.name: part.shown() for part in self.parts}
        store_up = self.store_up()
        found: list[Sample] = []
        for name, samples in shown.items():
            if samples is not None and (store_up or name not in self.of_store):
                found += samples
        return found + self._own(shown, store_up)

    def store_up(self) -> bool:
        """Whether the latest look at the store succeeded."""
        return any(part.name == STORE and part.shown() is not None for part in self.parts)

    def problem(self) -> str | None:
        """Why the store cannot be read, in a sentence; None where it can."""
        part = next(part for part in self.parts if part.name == STORE)
        look([part], self.patience_s)
        if part.shown() is not None:
            return None
        return part.problem or "the document store has not answered yet"

    def _own(self, shown: dict[str, Sequence[Sample] | None], store_up: bool) -> list[Sample]:
        out = Samples()
        out.add("build_info", 1.0, version=__version__)
        out.add("store_up", float(store_up))
        for name in (KAFKA, DASHBOARD):
            if name in shown:
                out.add(f"{name}_up", float(shown[name] is not None))
        for part in self.parts:
            up = shown[part.name] is not None
            out.add("exporter_look_up", float(up), part=part.name)
            out.add("exporter_look_age_seconds", part.age_s if up else None, part=part.name)
            out.add("exporter_look_duration_seconds", part.took_s, part=part.name)
            out.add("exporter_look_errors_total", part.n_errors, part=part.name)
        out.add("exporter_refused_requests_total", self.n_refused)
        return out.found
