"""Names that producers give: new for every start, legal as identifiers."""

from __future__ import annotations

import os
import re
import uuid
from datetime import datetime

_OTHER = re.compile(r"[^A-Za-z0-9._-]+")


def new_producer_id(node_id: str) -> str:
    """A name that no other start of a producer has: `node-4711-1f0c…`. It also names the spool's file."""
    return f"{_OTHER.sub('-', node_id)[:60]}-{os.getpid()}-{uuid.uuid4().hex[:16]}"


def new_run_id(model_name: str | None, at: datetime) -> str:
    """A readable name for a run that was given none: `resnet-20260131-120000-3fa9c1`."""
    stem = _OTHER.sub("-", model_name or "run").strip("-")[:60] or "run"
    return f"{stem}-{at:%Y%m%d-%H%M%S}-{uuid.uuid4().hex[:6]}"
