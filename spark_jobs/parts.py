"""A total as the sum of three parts with disjoint sources, and how the parts move.

`live`: rows held in this generation's Spark state. `late`: rows flagged late in the ledger. `carried`: rows
that earlier generations settled. A part is set, never incremented, so writing it twice changes nothing.

A document that a batch touched keeps, beside `live`, the value from before that batch (`before`). So a
generation that ended in the middle of a batch can be undone document by document, without reading the ledger.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

Values: TypeAlias = dict[str, float]


@dataclass(frozen=True, slots=True)
class Amounts:
    """Additive values of a document, and (nodes) the energy of each run in kWh."""

    sums: Values = field(default_factory=dict)
    runs: Values = field(default_factory=dict)

    def __add__(self, other: Amounts) -> Amounts:
        return Amounts(_added(self.sums, other.sums), _added(self.runs, other.runs))

    def __bool__(self) -> bool:
        return bool(self.sums or self.runs)

    def to_doc(self) -> dict[str, Any]:
        """As stored; run ids are values, never field names."""
        doc: dict[str, Any] = {"sums": dict(sorted(self.sums.items()))}
        if self.runs:
            doc["runs"] = [{"run_id": run, "energy_kwh": kwh} for run, kwh in sorted(self.runs.items())]
        return doc

    @classmethod
    def from_doc(cls, doc: Mapping[str, Any] | None) -> Amounts:
        """Read back what `to_doc` wrote; None is nothing."""
        if not doc:
            return cls()
        return cls(dict(doc["sums"]), {entry["run_id"]: entry["energy_kwh"] for entry in doc.get("runs", ())})


def _added(one: Mapping[str, float], other: Mapping[str, float]) -> Values:
    """Sum by name; a name that neither knows stays absent."""
    return {
        name: one.get(name, 0.0) + other.get(name, 0.0)
        for name in (*one, *(k for k in other if k not in one))
    }


def total(amounts: Iterable[Amounts]) -> Amounts:
    """The sum of all."""
    result = Amounts()
    for entry in amounts:
        result += entry
    return result


@dataclass(frozen=True, slots=True)
class Moment:
    """Which batch of which generation wrote last."""

    generation: int
    batch: int


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of a window's total."""

    carried: Amounts = field(default_factory=Amounts)
    live: Amounts = field(default_factory=Amounts)
    before: Amounts = field(default_factory=Amounts)
    late: Amounts = field(default_factory=Amounts)
    at: Moment | None = None

    @property
    def total(self) -> Amounts:
        """carried + live + late."""
        return self.carried + self.live + self.late

    def into(self, now: Moment, done: Mapping[int, int]) -> Parts:
        """These parts as batch `now` finds them; `done` has the last settled batch of each generation.

        The live part of an earlier generation is carried: as it is where its batch was settled, else as it
        was before that batch, whose rows will be read again.
        """
        if self.at is None:
            return replace(self, at=now)
        if self.at.generation != now.generation:
            settled = self.at.batch <= done.get(self.at.generation, -1)
            kept = self.live if settled else self.before
            return Parts(self.carried + kept, Amounts(), Amounts(), self.late, now)
        if self.at.batch != now.batch:
            return replace(self, before=self.live, at=now)
        return self

    def to_doc(self) -> dict[str, Any]:
        """As stored."""
        at = {"generation": self.at.generation, "batch": self.at.batch} if self.at else None
        amounts = {"carried": self.carried, "live": self.live, "before": self.before, "late": self.late}
        return {"at": at, **{name: value.to_doc() for name, value in amounts.items() if value}}

    @classmethod
    def from_doc(cls, doc: Mapping[str, Any] | None) -> Parts:
        """Read back what `to_doc` wrote; None is nothing."""
        if not doc:
            return cls()
        at = doc.get("at")
        carried, live, before, late = (
            Amounts.from_doc(doc.get(name)) for name in ("carried", "live", "before", "late")
        )
        return cls(carried, live, before, late, Moment(at["generation"], at["batch"]) if at else None)


@dataclass(frozen=True, slots=True)
class Folded:
    """A run's live sum: open windows by start (ms), and one sum of those that are closed.

    Windows that end at or before `through_ms` are folded into `closed` and never opened again.
    """

    closed: Amounts = field(default_factory=Amounts)
    open: Mapping[int, Amounts] = field(default_factory=dict)
    through_ms: int | None = None

    @property
    def total(self) -> Amounts:
        """closed + all open."""
        return self.closed + self.opened

    @property
    def opened(self) -> Amounts:
        """The sum of the open windows."""
        return total(self.open.values())

    def with_windows(
        self, windows: Mapping[int, Amounts], watermark_ms: int | None, window_ms: int
    ) -> Folded:
        """Set these windows, then fold all that end at or before the watermark."""
        through = self.through_ms
        fresh = {s: a for s, a in windows.items() if through is None or s + window_ms > through}
        opened = {**self.open, **fresh}
        if watermark_ms is None:
            return replace(self, open=opened)
        ended = sorted(start for start in opened if start + window_ms <= watermark_ms)
        closed = self.closed + total(opened.pop(start) for start in ended)
        return Folded(closed, opened, watermark_ms if through is None else max(through, watermark_ms))

    def to_doc(self) -> dict[str, Any]:
        """As stored."""
        opened = [{"start_ms": start, **amounts.to_doc()} for start, amounts in sorted(self.open.items())]
        return {"through_ms": self.through_ms, "closed": self.closed.to_doc(), "open": opened}

    @classmethod
    def from_doc(cls, doc: Mapping[str, Any] | None) -> Folded:
        """Read back what `to_doc` wrote; None is nothing."""
        if not doc:
            return cls()
        opened = {entry["start_ms"]: Amounts.from_doc(entry) for entry in doc["open"]}
        return cls(Amounts.from_doc(doc["closed"]), opened, doc["through_ms"])
