"""Let a model of the registry serve from now on, or none."""

from __future__ import annotations

import tempfile
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from joulestream.context import Context, context
from joulestream.output import AsJson, DataDir, MongoUri, print_json, say
from schemas.errors import PipelineError

if TYPE_CHECKING:  # a verb's module is imported for every `joule --help`: Arrow takes its time
    from spark_jobs.forecast.models.registry import Registry

NONE = "none"


def command(
    version: Annotated[
        str, typer.Argument(metavar="VERSION", help="See joule forecast models; `none` serves without one.")
    ],
    data_dir: DataDir = None,
    mongodb_uri: MongoUri = None,
    as_json: AsJson = False,
) -> None:
    """Let a model of the registry serve from now on, or none (`none`).

    Every file of it is checked first. A running stream swaps the model by itself within seconds.
    Exit code 1 if it is not there, damaged, of another version, or worse than naive at every horizon.
    """
    from spark_jobs.forecast.learning.mirror import pointer_of
    from spark_jobs.forecast.learning.tracking import tell_mlflow
    from spark_jobs.forecast.models.registry import Registry

    ctx = context(data_dir, {"mongodb.uri": mongodb_uri})
    registry = Registry(ctx.settings.model_registry)
    wanted = None if version == NONE else version
    if wanted is not None:
        _check(ctx, registry, wanted)
    before = pointer_of(registry)[0].version
    registry.promote(wanted, datetime.now(timezone.utc))
    tell_documents(ctx, registry)
    problem = tell_mlflow(
        ctx.settings.forecast.mlflow_uri, registry, wanted, ctx.data_dir / "cache" / "models"
    )
    if as_json:
        print_json({"serving": wanted, "before": before})
        return
    now = f"model {wanted} serves" if wanted else "no model serves: forecasts do with the other layers"
    say(f"{now} (before: {before or NONE})")
    if problem is not None:
        say(problem)


def _check(ctx: Context, registry: Registry, version: str) -> None:
    """Whether a stream of these settings can use the model. Raises PipelineError."""
    from spark_jobs.forecast.models.features import FEATURES

    manifest = registry.manifest(version)
    manifest.check(FEATURES, ctx.settings.stream.window_s)
    if not manifest.served_horizons_s:
        raise PipelineError(
            f"model {version} beats the naive forecast at no horizon, so it would serve nowhere "
            f"({manifest.reason}); choose another one: joule forecast models"
        )
    # Into an empty folder: a copy in the cache that is right would hide that the registry's own files are not.
    with tempfile.TemporaryDirectory(prefix="joule-promote-") as folder:
        registry.fetch(version, Path(folder))


def tell_documents(ctx: Context, registry: Registry) -> None:
    """Bring `model_registry` up to date; a store that is away is told of at the next training."""
    from spark_jobs.forecast.learning.mirror import mirror
    from spark_jobs.store import Address, connect, server_errors

    db = connect(Address.of(ctx.settings))
    try:
        with server_errors("the document store", ctx.settings.mongodb):
            mirror(db, registry)
    except PipelineError as error:
        say(f"the registry is changed; the list on the dashboard is not up to date: {error}")
    finally:
        db.client.close()
