"""Train, judge and choose the model behind the forecasts."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import typer

app = typer.Typer(no_args_is_help=True, help=__doc__, add_completion=False, pretty_exceptions_enable=False)

# In the order of the help: module of `joulestream.verbs.forecasting` by name of the verb.
VERBS = {
    "backtest": "backtest",
    "train": "train",
    "models": "models",
    "promote": "promote",
    "drift-demo": "drift_demo",
}
FOLDER = Path(__file__).parent / "forecasting"

for _name, _module in VERBS.items():
    if (FOLDER / f"{_module}.py").is_file():
        app.command(_name)(import_module(f"joulestream.verbs.forecasting.{_module}").command)
