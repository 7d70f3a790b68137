"""Which models there are and what became of each: from the registry, and mirrored into `model_registry`."""

from __future__ import annotations

from typing import Any

from pymongo import DeleteMany, ReplaceOne

from schemas import documents
from spark_jobs.forecast.errors import ModelError
from spark_jobs.forecast.learning.promotion import PROMOTED
from spark_jobs.forecast.models.registry import PointerError, Registry, Serving
from spark_jobs.store import Db, Doc


def models_of(registry: Registry) -> list[Doc]:
    """A document per version, the newest first: its manifest and its state.

    `state` is serving, kept (it served, or would have), challenger, rejected, or damaged with the reason.
    """
    pointer = pointer_of(registry)[0]
    return [_model(registry, version, pointer) for version in registry.versions()]


def pointer_of(registry: Registry) -> tuple[Serving, str | None]:
    """The pointer; where it is damaged nobody serves, and a sentence says so."""
    try:
        return registry.pointer(), None
    except PointerError as error:
        return Serving(), str(error)


def mirror(db: Db, registry: Registry) -> None:
    """Make `model_registry` say what the registry says. Raises PyMongoError."""
    models = models_of(registry)
    writes: list[Any] = [
        ReplaceOne({"_id": model["version"]}, {"schema_version": documents.DOCUMENT_VERSION, **model}, True)
        for model in models
    ]
    writes.append(DeleteMany({"_id": {"$nin": [model["version"] for model in models]}}))
    db[documents.MODEL_REGISTRY].bulk_write(writes)


def _model(registry: Registry, version: str, pointer: Serving) -> Doc:
    serves = {"serving_since": pointer.since} if version == pointer.version else {}
    try:
        manifest = registry.manifest(version)
    except ModelError as error:
        return {"version": version, "state": "damaged", "reason": str(error), **serves}
    if serves:
        state = "serving"
    elif version in pointer.earlier or manifest.verdict == PROMOTED:
        state = "kept"
    else:
        state = manifest.verdict
    return {**manifest.to_doc(), "state": state, **serves}
