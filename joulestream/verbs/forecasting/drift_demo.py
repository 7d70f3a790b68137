"""Show what a drift does to each layer of the forecast, and to the blend that is served."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from joulestream.output import AsJson, print_json, print_table, say

WHAT_BATCH_IS = (
    "batch: a scikit-learn random forest over the last ten powers, trained before the change and never again; it "
    "forecasts the level in generated scenarios, as the literature's models do, and the change in measured ones, "
    "as the served MLlib model does"
)


def command(
    seed: Annotated[int, typer.Option(min=0, help="Of the generated scenarios and of the forest.")] = 1,
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="Folder or file of measured runs: also a new architecture and a lower power limit.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show what a drift does to each layer of the forecast, and to the blend that is served.

    One minute ahead, in W, over the windows from the change on: the frozen batch model, the speed layer, their
    literature blend of 0.3 and 0.7, the dynamic blend that the stream serves, and the last value (naive). Windows to
    the alarm and to recovery (the next 20 windows err by no more than 1.2 times the error of before) count from the
    change; false alarms are those before it.
    """
    from spark_jobs.forecast.layers.drift_replay import frozen_forecasts, replayed, scores
    from spark_jobs.forecast.layers.scenarios import KINDS, generated, measured

    scenarios = [generated(kind, seed) for kind in KINDS]
    if data is not None:
        scenarios += measured(data)
    found = []
    for scenario in scenarios:
        say(f"{scenario.name}: {scenario.what}")
        done = replayed(scenario, frozen_forecasts(scenario, seed))
        found += [asdict(score) for score in scores(scenario, done)]
    if as_json:
        told = [{"scenario": s.name, "what": s.what, "change_window": s.change} for s in scenarios]
        print_json({"seed": seed, "batch_model": WHAT_BATCH_IS, "scenarios": told, "scores": found})
        return
    print_table([_row(score) for score in found])
    say(WHAT_BATCH_IS)


def _row(score: dict[str, Any]) -> dict[str, Any]:
    return {
        "scenario": score["scenario"],
        "model": score["model"],
        "RMSE W": round(score["rmse_w"], 2),
        "MAE W": round(score["mae_w"], 2),
        "MAE before W": round(score["old_mae_w"], 2),
        "alarm after": score["alarm_windows"],
        "recovered after": score["recovery_windows"],
        "false alarms": score["false_alarms"],
    }
