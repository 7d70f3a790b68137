"""A small stand-in for the stream's arithmetic: events of runs, in batches, become the pages that books write."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from types import MappingProxyType
from typing import Any

from schemas import documents
from spark_jobs.books import Books, RunPage, WindowPage
from spark_jobs.facets import Facets, facets_of, merge
from spark_jobs.parts import Amounts, Folded, Moment, Parts
from spark_jobs.sources import TRAINING, Key, document_id, window_start_ms
from spark_jobs.summaries import summary_doc, window_doc
from tests.messages import AT

WINDOW_MS = 60_000
Event = dict[str, Any]


def event(run_id: str, number: int, at_s: float, **fields: Any) -> Event:
    """A training event as the ledger has it, `at_s` after AT; `number` makes its identity."""
    at = AT + timedelta(seconds=at_s)
    return {
        "_id": f"e|{run_id}|{number}",
        "run_id": run_id,
        "timestamp": at,
        "event_type": "metric",
        **fields,
    }


def course(
    run_id: str,
    energies_kwh: Sequence[float],
    epoch_s: float = 20.0,
    ticks: int = 1,
    total: float | None = None,
    begin_s: float = 0.0,
    ends: bool = True,
    fields: Mapping[str, Any] = MappingProxyType({}),
) -> list[Event]:
    """The events of a run that says each epoch when it is done, with `ticks` events for each epoch.

    An epoch takes as long as its energy is large: the mean one takes `epoch_s`.
    """
    mean = sum(energies_kwh) / len(energies_kwh) or 1.0
    total_epochs = {} if total is None else {"total_epochs": float(total)}
    events = [event(run_id, 0, begin_s, event_type="run_started", **total_epochs, **fields)]
    at_s = begin_s
    for epoch, kwh in enumerate(energies_kwh, 1):
        length_s = epoch_s * (kwh / mean if kwh else 1.0)
        for tick in range(1, ticks + 1):
            at_s += length_s / ticks
            done = {"epoch": float(epoch)} if tick == ticks else {}
            used = {"energy_kwh": kwh / ticks, "interval_s": length_s / ticks, **done, **total_epochs}
            events.append(event(run_id, len(events), at_s, **used, **fields))
    if ends:
        events.append(event(run_id, len(events), at_s, event_type="run_finished", status="completed"))
    return events


def batches(events: Sequence[Event], size: int) -> list[list[Event]]:
    """The events in batches of a size."""
    return [list(events[i : i + size]) for i in range(0, len(events), size)]


@dataclass
class RunStream:
    """What the stream knows after the batches so far."""

    windows: dict[tuple[Key, int], Amounts] = field(default_factory=dict)
    runs: dict[str, Amounts] = field(default_factory=dict)
    facets: dict[str, Facets] = field(default_factory=dict)
    batch: int = 0

    def pages(self, events: Sequence[Event]) -> tuple[dict[str, WindowPage], list[RunPage]]:
        """The pages that a batch of events changes."""
        self.batch += 1
        now = Moment(0, self.batch)
        touched, runs = set(), set()
        for doc in events:
            body = {name: value for name, value in doc.items() if name != "_id"}
            amounts, run = TRAINING.amounts(body), body["run_id"]
            place = Key("run", run), window_start_ms(body["timestamp"], WINDOW_MS)
            self.windows[place] = self.windows.get(place, Amounts()) + amounts
            self.runs[run] = self.runs.get(run, Amounts()) + amounts
            own = facets_of(doc["_id"], body)
            self.facets[run] = merge(self.facets[run], own) if run in self.facets else own
            touched.add(place)
            runs.add(run)
        windows = {
            document_id(*place): WindowPage(*place, Parts(live=self.windows[place], at=now))
            for place in touched
        }
        return windows, [
            RunPage(run, Parts(live=self.runs[run], at=now), Folded(), self.facets[run])
            for run in sorted(runs)
        ]

    def write(self, books: Books, events: Sequence[Event]) -> None:
        """A batch, through real books."""
        windows, runs = self.pages(events)
        books.write_windows(documents.WINDOWS, windows)
        books.write_runs(runs)

    def docs(self, events: Sequence[Event]) -> tuple[dict[str, Event], dict[str, Event]]:
        """The documents of a batch, without a store: of windows and of summaries."""
        windows, runs = self.pages(events)
        return (
            {i: window_doc(page.key, page.start_ms, WINDOW_MS, page.parts) for i, page in windows.items()},
            {page.run_id: summary_doc(page.run_id, page.parts, page.folded, page.facets) for page in runs},
        )
