"""Write `docs/reference/metrics.md` from the metrics; a test regenerates it and compares.

`python -m joulestream.exporter.reference`
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from joulestream.exporter.metrics import DURATION_BUCKETS_S, SECTIONS, Metric

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "metrics.md"

_INTRO = f"""# Metrics

<!-- Written by `python -m joulestream.exporter.reference` from joulestream/exporter/metrics.py. Do not edit. -->

What `joule exporter` shows at `/metrics`, and sends by OpenTelemetry where it is asked to:
[how to observe the pipeline](../how-to/observe.md).

- Energy is in joules, mass in grams, time in seconds, as Prometheus has it: 1 kWh = 3.6 MJ.
- **What is not known is absent, never 0.** While a part cannot be read (`joulestream_exporter_look_up` is 0), its
  metrics are absent; none is shown again from an earlier time.
- *counter* goes on where the exporter is started again, since documents hold it. *counter, from 0* counts what this
  process has seen: it begins at 0 at its start, as `rate` and `increase` expect. A run's energy counts once, for the
  user, model and region that the run had when it grew; a correction that lowers a total lowers no counter, and counts
  again only what exceeds the highest total seen. `…_stored_…` are the totals themselves, equal to the documents.
- Labels are bounded: at most `exporter.max_users`, `max_models` and `max_nodes` names, the others are `other`, and
  what has no name is `unknown`. Who has a series keeps it while the process runs. No metric has a run's name, unless
  `exporter.max_runs` allows so many of the running runs.
- Buckets of the histogram: {", ".join(f"{bound:g}" for bound in DURATION_BUCKETS_S)} s."""

_TITLES = {
    "stream": ("The queries", "`query` is `training` or `node`."),
    "kafka": ("Kafka", "Asked of the broker."),
    "energy": ("Runs and their energy", "From `training_run_summary`."),
    "nodes": ("Nodes", "From `node_aggregates`: nodes with a window in the last 15 minutes, by this clock."),
    "state": ("Documents, alerts, budgets, forecasts", "From the collections of these names."),
    "own": (
        "The exporter itself",
        "Always there; `part` is one of the headings' words: "
        "`stream`, `kafka`, `energy`, `nodes`, `state`, `dashboard`.",
    ),
}


def page() -> str:
    """The page, as Markdown."""
    blocks = [_INTRO]
    for name, metrics in SECTIONS.items():
        title, source = _TITLES[name]
        blocks.append(f"## {title}\n\n{source}\n\n{_table(metrics)}")
    return "\n\n".join(blocks) + "\n"


def _table(metrics: Sequence[Metric]) -> str:
    rows = [_row(metric) for metric in metrics]
    return "\n".join(["| metric | kind | labels | meaning |", "|---|---|---|---|", *rows])


def _row(metric: Metric) -> str:
    kind = metric.kind.value + (", from 0" if metric.since_start else "")
    labels = ", ".join(f"`{label}`" for label in metric.labels)
    return f"| `{metric.name}` | {kind} | {labels} | {metric.help} |"


def main() -> None:
    """Write the page."""
    PAGE.write_text(page())
    sys.stdout.write(f"{PAGE}\n")


if __name__ == "__main__":
    main()
