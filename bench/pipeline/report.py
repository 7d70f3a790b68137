"""From what was measured to what is said: percentiles, ratios, targets, a table. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

RATES = ("read", "parse", "windows", "end_to_end", "store_insert")
STEPS = {
    "read": "read only (Kafka to nothing)",
    "parse": "parse and validate all fields",
    "windows": "+ deduplicate, windows on the stream",
    "end_to_end": "everything to the store",
    "store_insert": "the store alone (ledger rows)",
}
FLAT = 1.15


@dataclass(frozen=True, slots=True)
class Batch:
    """One micro-batch: rows, when it began and how long it took (s)."""

    rows: int
    began_s: float
    took_s: float

    @property
    def ended_s(self) -> float:
        """When it was over."""
        return self.began_s + self.took_s


@dataclass(frozen=True, slots=True)
class Target:
    """A promise: `value` held against `bound`."""

    name: str
    value: float | None
    bound: float
    at_least: bool

    @property
    def met(self) -> bool | None:
        """None where the value was not measured."""
        if self.value is None:
            return None
        return self.value >= self.bound if self.at_least else self.value < self.bound

    def to_doc(self) -> dict[str, Any]:
        """JSON-ready."""
        rule = "at_least" if self.at_least else "below"
        return {"value": rounded(self.value), rule: self.bound, "met": self.met}


def steady_rate(batches: Sequence[Batch]) -> float | None:
    """Rows a second from the end of the first batch to the end of the last; None with fewer than two.

    The first batch starts workers and compiles; what lies between two batches counts.
    """
    full = [batch for batch in batches if batch.rows]
    if len(full) < 2:
        return None
    took_s = full[-1].ended_s - full[0].ended_s
    return sum(batch.rows for batch in full[1:]) / took_s if took_s > 0 else None


def percentile(values: Sequence[float], share: float) -> float | None:
    """The smallest value that at least this share of the values do not exceed (nearest rank); None of none."""
    if not values:
        return None
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def ratio(part: float | None, whole: float | None) -> float | None:
    """`part / whole`; None where either was not measured."""
    return part / whole if part is not None and whole else None


def ratios(rates: Mapping[str, float | None]) -> dict[str, float | None]:
    """What the steps cost one another, all from one run."""
    parse, store, everything = rates["parse"], rates["store_insert"], rates["end_to_end"]
    smaller = min(parse, store) if parse is not None and store is not None else None
    return {
        "read_to_parse": ratio(rates["read"], parse),
        "windows_to_parse": ratio(rates["windows"], parse),
        "everything_to_parse": ratio(everything, parse),
        "everything_to_store": ratio(everything, store),
        "everything_to_smaller": ratio(everything, smaller),
    }


def latencies(sent_s: Mapping[str, Sequence[float]], seen: Sequence[tuple[float, str, int]]) -> list[float]:
    """Seconds from each event to the summary that includes it.

    `sent_s`: times of a run's events in order. `seen`: time, run and its `n_events`, each time it was read.
    A run's n-th event is included once its summary counts n; events that were never seen are left out.
    """
    included = dict.fromkeys(sent_s, 0)
    found: list[float] = []
    for at_s, run, n_events in sorted(seen):
        times = sent_s.get(run, ())
        for n in range(included.get(run, 0), min(n_events, len(times))):
            found.append(at_s - times[n])
        if run in included:
            included[run] = max(included[run], n_events)
    return found


def targets(found: Mapping[str, Any]) -> list[Target]:
    """The issue's targets."""
    parts = found["ratios"]
    return [
        Target("windows_to_parse", parts["windows_to_parse"], 0.75, True),
        Target("everything_to_smaller", parts["everything_to_smaller"], 0.5, True),
        Target("latency_p50_s", found["latency_p50_s"], 1.5, False),
        Target("latency_p99_s", found["latency_p99_s"], 3.0, False),
        Target("rss_end_to_half", found["rss_end_to_half"], FLAT, False),
    ]


def rounded(value: float | None) -> float | None:
    """Four digits: more would be noise."""
    return None if value is None else float(f"{value:.4g}")


def summary(
    rates: Mapping[str, float | None],
    delays: Sequence[float],
    few: Mapping[int, Sequence[float]],
    memory: Mapping[str, float | None],
    more: Mapping[str, Any],
) -> dict[str, Any]:
    """The result as JSON; None is not measured. `few`: latencies again, by a number of runs."""
    found: dict[str, Any] = {f"{name}_rows_per_s": rounded(rates[name]) for name in RATES}
    found["latency_p50_s"], found["latency_p95_s"], found["latency_p99_s"] = (
        rounded(percentile(delays, share)) for share in (0.50, 0.95, 0.99)
    )
    found["latency_events"] = len(delays)
    for runs, of_few in few.items():
        for share in (0.50, 0.95, 0.99):
            name = f"latency_{runs}_runs_p{share * 100:.0f}_s"
            found[name] = rounded(percentile(of_few, share))
    found["peak_rss_mib"] = rounded(memory["peak_mib"])
    found["rss_half_mib"], found["rss_end_mib"] = rounded(memory["half_mib"]), rounded(memory["end_mib"])
    found["rss_end_to_half"] = rounded(ratio(memory["end_mib"], memory["half_mib"]))
    found["ratios"] = {name: rounded(value) for name, value in ratios(rates).items()}
    found["targets"] = {target.name: target.to_doc() for target in targets(found)}
    return {**found, **more}


def table(found: Mapping[str, Any]) -> str:
    """The result for people."""
    lines = [f"{'step':<40}{'rows/s':>10}{'to parse':>10}{'to smaller':>12}"]
    parse, store = found["parse_rows_per_s"], found["store_insert_rows_per_s"]
    smaller = min(parse, store) if parse and store else None
    for name in RATES:
        rate = found[f"{name}_rows_per_s"]
        cells = (_cell(rate, 0), _cell(ratio(rate, parse), 2), _cell(ratio(rate, smaller), 2))
        lines.append(f"{STEPS[name]:<40}{cells[0]:>10}{cells[1]:>10}{cells[2]:>12}")
    rate, runs, few = (found["sizes"][name] for name in ("live_rate", "live_runs", "few_runs"))
    lines += [
        "",
        f"event to summary at {rate} events/s of {runs} runs: {_delays(found, 'latency')}",
        f"the same of {few} runs: {_delays(found, f'latency_{few}_runs')}",
        f"memory of the job: peak {_cell(found['peak_rss_mib'], 0)} MiB; half time "
        f"{_cell(found['rss_half_mib'], 0)}, end {_cell(found['rss_end_mib'], 0)} MiB",
        "",
        f"{'target':<28}{'value':>10}{'bound':>10}  met",
    ]
    for name, target in found["targets"].items():
        bound = f">= {target['at_least']}" if "at_least" in target else f"< {target['below']}"
        met = {True: "yes", False: "NO", None: "not measured"}[target["met"]]
        lines.append(f"{name:<28}{_cell(target['value'], 3):>10}{bound:>10}  {met}")
    return "\n".join(lines)


def _delays(found: Mapping[str, Any], prefix: str) -> str:
    return ", ".join(f"{p} {_cell(found[f'{prefix}_{p}_s'], 2)} s" for p in ("p50", "p95", "p99"))


def _cell(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:,.{digits}f}"
