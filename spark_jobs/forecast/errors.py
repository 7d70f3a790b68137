"""What goes wrong with a model."""

from __future__ import annotations

from schemas.errors import PipelineError


class ModelError(PipelineError):
    """A model cannot be read or used; the forecasts go on without it, and say so."""
