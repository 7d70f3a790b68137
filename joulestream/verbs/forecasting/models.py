"""List the models of the registry, what they scored and which one serves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from joulestream.context import Context, context
from joulestream.output import AsJson, DataDir, MongoUri, print_json, print_table, say

if TYPE_CHECKING:
    from spark_jobs.forecast.models.registry import Registry


def command(
    prune: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="KEEP", help="First delete all but the newest KEEP; never the serving one."
        ),
    ] = None,
    data_dir: DataDir = None,
    mongodb_uri: MongoUri = None,
    as_json: AsJson = False,
) -> None:
    """List the models of the registry, what they scored and which one serves.

    A model's error is its mean absolute error over that of strong naive (the better of last value and the
    value of the day before) per horizon, on windows that it had not learned from.
    """
    from spark_jobs.forecast.learning.mirror import models_of, pointer_of
    from spark_jobs.forecast.models.registry import Registry

    ctx = context(data_dir, {"mongodb.uri": mongodb_uri})
    registry = Registry(ctx.settings.model_registry)
    if prune is not None:
        gone = _prune(ctx, registry, prune)
        say(f"deleted: {', '.join(gone) or 'none'}")
    models = models_of(registry)
    pointer, problem = pointer_of(registry)
    if as_json:
        serving = {"serving": pointer.version, "problem": problem}
        print_json({"registry": registry.uri, **serving, "models": models})
        return
    print_table([_row(model) for model in models], empty="no model was trained yet: joule forecast train")
    if problem:
        say(problem)
    elif models and pointer.version is None:
        say("none of them serves; let one: joule forecast promote VERSION")


def _prune(ctx: Context, registry: Registry, keep: int) -> list[str]:
    from joulestream.verbs.forecasting.promote import tell_documents
    from spark_jobs.forecast.learning.lock import alone

    with alone(ctx.data_dir):
        gone = registry.prune(keep)
    tell_documents(ctx, registry)
    return gone


def _row(model: dict[str, Any]) -> dict[str, Any]:
    served = set(model.get("served_horizons_s", ()))
    ratios = {
        f"{horizon} s": f"{score['ratio']:.3f}{'' if int(horizon) in served else ' (naive serves)'}"
        for horizon, score in sorted(model.get("scores", {}).items(), key=lambda item: int(item[0]))
        if "ratio" in score
    }
    data = model.get("data", {})
    return {
        "version": model["version"],
        "state": model["state"],
        "rows": model.get("n_rows"),
        "until": data.get("last"),
        "from": data.get("source"),
        **ratios,
        "why": model["reason"],
    }
