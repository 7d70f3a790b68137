"""A report as plain rows, for tables, CSV and JSON. The total is the sum of the lines."""

from __future__ import annotations

from typing import Any, TypeAlias

from dashboard.export import to_csv
from joulestream.reports.report import EMISSIONS, ENERGIES, NODE_ENERGIES, PODS, Line, Report
from schemas.times import rfc3339

NOT_KNOWN = "(not known)"
TOTAL = "total"
Row: TypeAlias = "dict[str, Any]"


def document(report: Report) -> Row:
    """The report as JSON: a key or a value that is not known is null."""
    return {
        "by": report.by,
        **_range(report),
        "window_s": report.range.window_s,
        "first_window_start": report.first and rfc3339(report.first),
        "last_window_end": report.last and rfc3339(report.last),
        "rows": [{"key": line.key, **_values(report, line)} for line in report.lines],
        "total": _values(report, report.total),
    }


def csv_text(report: Report) -> str:
    """The report as CSV, safe for spreadsheets. Column `line` tells the total from the rest."""
    bounds = _range(report)
    rows = [_csv_row(report, "key", line) | bounds for line in report.lines]
    rows.append(_csv_row(report, TOTAL, report.total) | bounds)
    return to_csv(rows, list(rows[-1]))


def _csv_row(report: Report, kind: str, line: Line) -> Row:
    values = _values(report, line)
    joined = {name: "; ".join(value) or None for name, value in values.items() if isinstance(value, list)}
    return {"line": kind, report.by: line.key, **values, **joined}


def table_rows(report: Report) -> list[Row]:
    """The report for people; the last row is the total."""
    rows = [_table_row(report, line.key or NOT_KNOWN, line) for line in report.lines]
    return [*rows, _table_row(report, TOTAL, report.total)] if rows else []


def _table_row(report: Report, key: str, line: Line) -> Row:
    if report.by in PODS:
        return {report.by: key, "kWh": line.sums.get("energy_kwh"), "windows": line.counted}
    counted = "samples" if report.by == "node" else "events"
    shown: Row = {report.by: key, "kWh": line.sums.get("energy_kwh")}
    if report.by == "node":
        for name in ("attributed_kwh", "idle_kwh", "unattributed_kwh"):
            shown[name.replace("_kwh", " kWh")] = line.sums.get(name)
    shown["kg CO2e"] = line.sums.get(EMISSIONS)
    shown |= {"mean W": line.mean_power_w, "runs": len(line.runs), counted: line.counted}
    notes = _footnotes(report.total)
    marks = [_mark(notes.index(note)) for note in _footnotes(line)]
    return shown | ({"intensity": marks} if marks else {})


def sources_text(report: Report) -> str:
    """Where the carbon intensities of the table's lines come from, or why there is none, one line each."""
    return "".join(f"{_mark(place)} {note}\n" for place, note in enumerate(_footnotes(report.total)))


def _footnotes(line: Line) -> list[str]:
    return [*line.sources, *(f"CO2e not known and not in the total: {why}" for why in line.lacks)]


def _mark(place: int) -> str:
    return f"[{place + 1}]"


def nothing(report: Report) -> str:
    """What is said of a report without lines."""
    if report.by in PODS and report.first is not None:
        return f"no node of this range tells of {report.by}s; only those metered by Kepler or DCGM do"
    return "nothing was recorded in this range; try: joule runs ls"


def heading(report: Report) -> str:
    """Which windows the table holds."""
    asked = report.range
    start, end = asked.start or report.first, asked.end or report.last
    if start is None or end is None:
        return f"Energy by {report.by}: no windows"
    span = f"{rfc3339(start)} to {rfc3339(end)}"
    return f"Energy by {report.by}, whole windows of {asked.window_s} s from {span}"


def _range(report: Report) -> Row:
    start, end = report.range.start, report.range.end
    return {"from": start and rfc3339(start), "to": end and rfc3339(end)}


def _values(report: Report, line: Line) -> Row:
    if report.by in PODS:
        return {"energy_kwh": line.sums.get("energy_kwh"), "n_windows": line.counted}
    node = report.by == "node"
    names = (*NODE_ENERGIES, EMISSIONS) if node else ENERGIES
    energies = {name: line.sums.get(name) for name in names}
    return {
        **energies,
        "mean_power_w": line.mean_power_w,
        "n_runs": len(line.runs),
        ("n_samples" if node else "n_events"): line.counted,
        "carbon_intensity_sources": list(line.sources),
        **({"emissions_not_known": list(line.lacks)} if node else {}),
    }
