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
    literature blend of 0.3 and 0.7, the dynamic blend that the stream serves, and the last value (naive).
    Generated scenarios are repeated with 20 seeds and errors are means over them; a measured one is one series.
    Windows to the alarm (the latest of the repetitions) and to recovery (the next 10 windows err by no more than 1.2
    times the error of before) count from the change; false alarms are those in windows without a drift.
    """
    from spark_jobs.forecast.layers.drift_replay import frozen_forecasts, replayed, scores, seeds_of
    from spark_jobs.forecast.layers.scenarios import KINDS, generated, measured

    repeated = [[(generated(kind, one), one) for one in seeds_of(seed)] for kind in KINDS]
    if data is not None:
        repeated += [[(scenario, seed)] for scenario in measured(data)]
    found, told = [], []
    for series in repeated:
        scenarios = [scenario for scenario, _ in series]
        first = scenarios[0]
        say(f"{first.name}: {first.what}")
        done = [replayed(scenario, frozen_forecasts(scenario, one)) for scenario, one in series]
        found += [asdict(score) for score in scores(scenarios, done)]
        told.append({"scenario": first.name, "what": first.what, "change_window": first.change})
    if as_json:
        print_json({"seed": seed, "batch_model": WHAT_BATCH_IS, "scenarios": told, "scores": found})
        return
    print_table([_row(score) for score in found])
    say(WHAT_BATCH_IS)
    say(_calm_words(next(score for score in found if score["calm_windows"] is not None)))


def _calm_words(score: dict[str, Any]) -> str:
    """Of the scenario without a drift; those with one have the same noise before their change."""
    return (
        f"false alarms of scenario {score['scenario']}: {score['false_alarms']} in {score['calm_windows']:,} windows; "
        "the generated scenarios with a drift are the same series up to their change"
    )


def _row(score: dict[str, Any]) -> dict[str, Any]:
    return {
        "scenario": score["scenario"],
        "model": score["model"],
        "series": score["repetitions"],
        "RMSE W": round(score["rmse_w"], 2),
        "MAE W": round(score["mae_w"], 2),
        "MAE before W": round(score["old_mae_w"], 2),
        "alarm after": score["alarm_windows"],
        "recovered after": score["recovery_windows"],
        "false alarms": score["false_alarms"],
        "in calm windows": score["calm_windows"],
    }
